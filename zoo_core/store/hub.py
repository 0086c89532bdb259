"""The Hugging Face Hub: its client resolves names, mirrors (HF_ENDPOINT) and tokens; the bytes come over plain HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from zoo_core.cards.files import File, HubFile, Source
from zoo_core.errors import IntegrityError, NetworkError
from zoo_core.store.http import OnBytes, Request, RetryPolicy, downloaded

FORBIDDEN = re.compile("HTTP 40[13]|GatedRepo|RepositoryNotFound")  # also what the Hub answers for a private file


def ask_hub(file: HubFile, retry: RetryPolicy) -> File:
    """Ask the Hub for the commit, size and SHA-256 that a file has now.

    Raises:
        NetworkError: the Hub did not answer, or has no such file.
        IntegrityError: its answer has no valid commit, size and SHA-256.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # slow to import, and only the Hub needs it

    path = f"{file.repo}/{file.filename}"
    with _client_errors(path):
        url = hf_hub_url(file.repo, file.filename, revision=file.revision)
        answer = get_hf_file_metadata(url, timeout=retry.connect)
    try:
        uri = f"hub:{file.repo}@{answer.commit_hash}#{file.filename}"
        size, sha256 = answer.size or 0, answer.etag or ""
        return File(sources=(Source(uri=uri, size=size, sha256=sha256),), size=size, sha256=sha256)
    except ValidationError as error:
        why = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        raise IntegrityError(f"the Hub gives no commit, size and SHA-256 for {path}", why=why) from error


@contextmanager
def downloaded_from_hub(source: Source, scratch: Path, on_bytes: OnBytes, retry: RetryPolicy) -> Iterator[Path]:
    """Download a file at its commit, with the same guarantees as any other download; see `downloaded`."""
    try:
        with downloaded(source, _request(source), scratch, on_bytes, retry) as path:
            yield path
    except NetworkError as error:
        raise NetworkError(error.what, why=error.why, fix=_fix(error.why)) from error


def _request(source: Source) -> Request:
    from huggingface_hub import hf_hub_url  # slow to import, and only the Hub needs it
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented, but not in __all__

    repository, _, filename = source.uri.removeprefix("hub:").partition("#")
    repo, _, commit = repository.partition("@")
    with _client_errors(f"{repo}/{filename}"):
        return Request(hf_hub_url(repo, filename, revision=commit), build_hf_headers())


@contextmanager
def _client_errors(path: str) -> Iterator[None]:
    """Turn whatever the Hub's client raises into a NetworkError: its errors have no common base class."""
    try:
        yield
    except Exception as error:
        why = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
        raise NetworkError(f"{path} could not be downloaded from the Hub", why=why, fix=_fix(why)) from error


def _fix(why: str) -> str:
    return "hf auth login" if FORBIDDEN.search(why) else "export HF_ENDPOINT=https://MIRROR"
