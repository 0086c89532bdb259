"""Every write to disk: whole or not at all, and only where it belongs."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo_core.disk.failpoints import failpoint
from zoo_core.disk.temporary_names import is_gone, temporary_name
from zoo_core.errors import IntegrityError, ResourceError

CHUNK = 1 << 20  # bytes read or written at a time
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSALS = (errno.ELOOP, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
DAY = 24 * 60 * 60  # seconds: what was left unfinished longer ago than this is swept


def atomic_write(
    path: Path, content: bytes | Iterable[bytes], *, size: int | None = None, sha256: str | None = None
) -> Path:
    """Write `content` to a temporary file beside `path`, sync it, and rename it: `path` is never seen half written.

    With `size` and `sha256`, content that does not match them never gets the name, and content that goes on past
    `size` is cut off at once.

    Raises:
        IntegrityError: the content is not what was promised.
        ResourceError: the disk is full, read-only, or not ours to write.
    """
    temporary = path.parent / temporary_name(path.name)
    with disk_errors(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            failpoint("files.create")
            with temporary.open("xb") as file:
                for chunk in verified([content] if isinstance(content, bytes) else content, path.name, size, sha256):
                    failpoint("files.write")
                    file.write(chunk)
                failpoint("files.sync")
                file.flush()
                os.fsync(file.fileno())
            failpoint("files.rename")
            temporary.replace(path)
        finally:
            with suppress(OSError):  # after the rename there is nothing left to remove
                temporary.unlink()
        failpoint("files.sync-folder")
        _sync_folder(path.parent)
    return path


def verified(chunks: Iterable[bytes], name: str, size: int | None, sha256: str | None) -> Iterator[bytes]:
    """Pass chunks on, and raise IntegrityError as soon as they cannot be the promised content any more."""
    digest, count = hashlib.sha256(), 0
    for chunk in chunks:
        count += len(chunk)
        if size is not None and count > size:
            raise _not_as_promised(name, f"it is longer than the {size:,} bytes that were promised")
        digest.update(chunk)
        yield chunk
    if size is not None and count != size:
        raise _not_as_promised(name, f"it has {count:,} bytes, {size:,} were promised")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise _not_as_promised(name, f"sha256 is {digest.hexdigest()}, {sha256} was promised")


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a temporary folder beside `path`, and rename it: `path` is never seen with some of them.

    A folder that has the name already is replaced.

    Raises:
        ResourceError: the disk is full, read-only, or not ours to write.
    """
    temporary = path.parent / temporary_name(path.name)
    with disk_errors(path, sum(map(len, files.values()))):
        try:
            for name, content in files.items():
                atomic_write(temporary / name, content)
            remove_folder(path)
            failpoint("folder.rename")
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # after the rename there is nothing left to remove
        failpoint("folder.sync")
        _sync_folder(path.parent)
    return path


def remove_folder(path: Path) -> None:
    """Delete a folder, if it is there: it loses its name first, so that it is never seen with some of its files.

    Raises:
        ResourceError: it is not ours to delete.
    """
    going = path.parent / temporary_name(path.name)
    with disk_errors(path), suppress(FileNotFoundError):
        failpoint("folder.forget")
        path.rename(going)
        failpoint("folder.remove")
        shutil.rmtree(going)


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file and hand it to the system, so that a kill of this process does not lose it."""
    with disk_errors(path), open(path, "a", encoding="utf-8", opener=_not_through_links) as file:
        failpoint("files.append")
        file.write(line + "\n")


def sweep(folder: Path) -> int:
    """Delete the unfinished files and folders that were left in a folder more than a day ago; return how many.

    What a living process is at work on stays, and so does what cannot be deleted.
    """
    long_ago = time.time() - DAY
    old = [path for path in folder.glob(".*.part") if is_gone(path) is not False and _last_change(path) < long_ago]
    return sum(remove(path) for path in old)


def remove(path: Path) -> bool:
    """Delete a temporary file, or a folder with all that is in it; tell whether that was possible."""
    with suppress(OSError):
        failpoint("files.remove")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return True
    return False


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give a folder for this process alone; it is gone afterwards."""
    folder = parent / temporary_name("fetch")
    with disk_errors(parent):
        failpoint("files.scratch")
        folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def hash_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn the system's refusals to write into a ResourceError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise ResourceError(
                f"the disk is full: {path} was not written",
                why=_space(path, needed),
                fix="zoo cache ls, then zoo cache rm NAME; or set ZOO_CACHE to a folder on another disk",
            ) from error
        if error.errno in REFUSALS:
            raise ResourceError(
                f"{path} cannot be written",
                why=f"{error.strerror or error}",
                fix="set ZOO_CACHE (downloads), ZOO_CONFIG (settings) or --out (runs) to a folder of yours",
            ) from error
        raise


def _last_change(path: Path) -> float:
    """Return when a file, or anything in a folder, was last written; if it goes meanwhile, that was now."""
    try:
        return max(one.lstat().st_mtime for one in (path, *path.rglob("*")))
    except OSError:
        return time.time()


def _space(path: Path, needed: int | None) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = f"{shutil.disk_usage(folder).free:,} bytes are free in {folder}"
    return free if needed is None else f"{needed:,} bytes are needed, {free}"


def _not_as_promised(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"{name} is not the promised file", why=why)


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
