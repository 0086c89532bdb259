"""Readers convert a file from how it is published to how the Store saves it, so equal content has equal hashes."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from zoo_core.disk.atomic import CHUNK
from zoo_core.store.archives import regular_members

MAX_ENTRIES = 1_000_000


def gunzip(path: Path) -> Iterator[bytes]:
    """Yield the decompressed content of a .gz file; a file that is not compressed is passed through."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if compressed else path.open("rb") as content:
        while chunk := content.read(CHUNK):
            yield chunk


def rezip(path: Path) -> Iterator[bytes]:
    """Yield a zip of the same regular files: uncompressed, sorted by name, without dates.

    Archives of the same files become the same bytes, whichever program packed them.
    """
    target = _Pieces()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in regular_members(old, max_entries=MAX_ENTRIES):
            copy = zipfile.ZipInfo(entry.filename)
            copy.file_size = entry.file_size
            with old.open(entry) as source, new.open(copy, "w") as written:
                while chunk := source.read(CHUNK):
                    written.write(chunk)
                    yield target.take()
    yield target.take()


class _Pieces(io.RawIOBase):
    """A writable file whose content is consumed piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
