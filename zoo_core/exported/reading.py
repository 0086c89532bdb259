"""What the readers of exported files share; the files may come from anyone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from zoo_core.errors import IntegrityError, printable


def read_limited(path: Path, limit: int, name: str) -> bytes:
    """Return the content of a regular file, and no more than one byte above the limit.

    Raises:
        IntegrityError: it cannot be read; the error calls what it belongs to `name`.
    """
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(2, "not a file", str(path))
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        why = printable(f"{error.filename}: {error.strerror}")
        raise IntegrityError(f"{name} cannot be read", why=why) from error


def checksums(files: Mapping[str, bytes]) -> bytes:
    """Return the SHA-256 of each file by name, as `sha256sum --check` reads them."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def first_line(error: BaseException) -> str:
    """Return the beginning of a library's error message, or the type of an error without one."""
    return printable(str(error).strip().partition("\n")[0][:200]) or type(error).__name__
