"""Where bytes come from, by the scheme of a source's URI. Only this package uses the network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo_core.cards.files import Source
from zoo_core.disk.atomic import read_chunks, scratch_folder, verified
from zoo_core.errors import DataError, PluginError
from zoo_core.store.http import OnBytes, Request, RetryPolicy, downloaded
from zoo_core.store.hub import downloaded_from_hub
from zoo_core.store.package_index import fetch_from_index


def is_remote(source: Source) -> bool:
    """Return whether this source needs the network."""
    return source.uri.partition(":")[0] in ("http", "https", "index", "hub")


@contextmanager
def opened(source: Source, scratch: Path, on_bytes: OnBytes, retry: RetryPolicy) -> Iterator[Path]:
    """Provide a path to the bytes of a source, verified by size and hash; downloads are below `scratch` until the end.

    Raises:
        NetworkError: they could not be downloaded.
        IntegrityError: they do not match the expected size and hash.
        ResourceError: they could not be written.
    """
    scheme = source.uri.partition(":")[0]
    if scheme in ("file", "package"):
        yield _verify(_local_path(source.uri), source)
    elif scheme == "index":
        with scratch_folder(scratch) as folder:
            yield _verify(fetch_from_index(source, folder, on_bytes, retry), source)
    elif scheme == "hub":
        with downloaded_from_hub(source, scratch, on_bytes, retry) as path:
            yield path
    else:
        with downloaded(source, Request(source.uri), scratch, on_bytes, retry) as path:
            yield path


def _local_path(uri: str) -> Path:
    if uri.startswith("file:"):
        return Path(_file_path(uri, windows=os.name == "nt"))
    package, _, path = uri.removeprefix("package:").partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(
            f"{uri} names a package that is not installed", fix=f"pip install {package.replace('_', '-')}"
        )
    return Path(spec.submodule_search_locations[0], path)


def _file_path(uri: str, *, windows: bool) -> str:
    """Return the path of a file URI; on Windows, `/C:/x` is `C:/x`."""
    path = unquote(urlsplit(uri).path)
    return path[1:] if windows and re.match(r"/[A-Za-z]:/", path) else path


def _verify(path: Path, source: Source) -> Path:
    if not path.is_file():
        raise DataError(f"{path} does not exist", why=f"{source.uri} names it")
    for _ in verified(read_chunks(path), path.name, source.size, source.sha256):
        pass
    return path
