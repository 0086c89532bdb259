"""Every write to disk: files and folders appear complete or not at all."""

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
from zoo_core.disk.temporary_names import is_gone, is_temporary, temporary_name
from zoo_core.errors import IntegrityError, ResourceError

CHUNK = 1 << 20  # bytes read or written at a time
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSALS = (errno.ELOOP, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
DAY = 24 * 60 * 60  # seconds: unfinished files older than this are swept
BUSY_PAUSES = (0.05, 0.1, 0.2, 0.4)  # seconds between attempts to replace a file that another program has open


def atomic_write(
    path: Path, content: bytes | Iterable[bytes], *, size: int | None = None, sha256: str | None = None
) -> Path:
    """Write `content` to a temporary file next to `path`, sync it, and rename it, so `path` is never incomplete.

    With `size` and `sha256`, content that does not match never gets the name, and reading stops as soon as there is
    more than `size`.

    Raises:
        IntegrityError: the content does not match `size` and `sha256`.
        ResourceError: the disk is full or read-only, or permission is denied.
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
            _replace(temporary, path)
        finally:
            with suppress(OSError):  # after the rename there is nothing left to remove
                temporary.unlink()
        failpoint("files.sync-folder")
        _sync_folder(path.parent)
    return path


def verified(chunks: Iterable[bytes], name: str, size: int | None, sha256: str | None) -> Iterator[bytes]:
    """Pass chunks on, and raise IntegrityError as soon as they can no longer match `size` and `sha256`."""
    digest, count = hashlib.sha256(), 0
    for chunk in chunks:
        count += len(chunk)
        if size is not None and count > size:
            raise _mismatch(name, f"it is longer than the expected {size:,} bytes")
        digest.update(chunk)
        yield chunk
    if size is not None and count != size:
        raise _mismatch(name, f"it has {count:,} bytes, expected {size:,}")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise _mismatch(name, f"SHA-256 is {digest.hexdigest()}, expected {sha256}")


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a temporary folder next to `path`, and rename it, so `path` is never incomplete.

    An existing folder of that name is replaced.

    Raises:
        ResourceError: the disk is full or read-only, or permission is denied.
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
    """Delete a folder if it exists; it is renamed first, so that it is never seen with only some of its files.

    Raises:
        ResourceError: permission is denied.
    """
    doomed = path.parent / temporary_name(path.name)
    with disk_errors(path), suppress(FileNotFoundError):
        failpoint("folder.forget")
        path.rename(doomed)
        failpoint("folder.remove")
        shutil.rmtree(doomed)


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file and flush it, so that killing this process does not lose it."""
    with disk_errors(path), open(path, "a", encoding="utf-8", opener=_open_without_links) as file:
        failpoint("files.append")
        file.write(line + "\n")


def sweep(folder: Path) -> int:
    """Delete the temporary files and folders that were abandoned in a folder over a day ago; return how many.

    Those of a running process stay, and so does every file whose name `temporary_name` did not make.
    """
    cutoff = time.time() - DAY
    unfinished = [path for path in folder.glob(".*.part") if is_temporary(path) and is_gone(path) is not False]
    return sum(remove(path) for path in unfinished if _last_change(path) < cutoff)


def remove(path: Path) -> bool:
    """Delete a temporary file, or a folder with everything in it; return whether that was possible."""
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
    """Provide a folder that only this process uses, and delete it afterwards."""
    folder = parent / temporary_name("fetch")
    with disk_errors(parent):
        failpoint("files.scratch")
        folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Read a file chunk by chunk."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn OSErrors from writing `path` into a ResourceError; `needed` is in bytes.

    The caller adds advice, which depends on what `path` is for.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            why = f"{_space(path, needed)}; delete something there, or choose another disk"
            raise ResourceError(f"the disk is full: {path} was not written", why=why) from error
        if error.errno in REFUSALS:
            raise ResourceError(f"{path} cannot be written", why=f"{error.strerror or error}") from error
        raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename a file over another one. Windows refuses that while a program has it open, usually for a moment."""
    for pause in (*BUSY_PAUSES, None):
        try:
            temporary.replace(path)
            return
        except PermissionError as error:
            if pause is None:
                why = f"{error.strerror}; if another program has it open, close it there"
                raise ResourceError(f"{path} cannot be replaced", why=why) from error
            time.sleep(pause)


def _last_change(path: Path) -> float:
    """Return when a file, or anything in a folder, was last written; now, if it is being deleted."""
    try:
        return max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
    except OSError:
        return time.time()


def _space(path: Path, needed: int | None) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = f"{shutil.disk_usage(folder).free:,} bytes are free in {folder}"
    return free if needed is None else f"{needed:,} bytes are needed, {free}"


def _mismatch(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"{name} is not the expected file", why=why)


def _open_without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
