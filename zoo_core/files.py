"""Every write to disk: whole or not at all, and only where it belongs."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo_core.errors import IntegrityError, ResourceError
from zoo_core.failpoints import failpoint

CHUNK = 1 << 20  # bytes read or written at a time
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSALS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


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
    temporary = path.parent / f".{path.name[:100]}.{uuid.uuid4().hex}.part"
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
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
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
    going = path.parent / f".{path.name}.{uuid.uuid4().hex}.gone"
    with disk_errors(path), suppress(FileNotFoundError):
        failpoint("folder.forget")
        path.rename(going)
        failpoint("folder.remove")
        shutil.rmtree(going)


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file and hand it to the system, so that a kill of this process does not lose it."""
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        failpoint("files.append")
        file.write(line + "\n")


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


def extract(archive: Path, target: Path, *, only: str | None = None, max_bytes: int, max_entries: int) -> list[Path]:
    """Unpack a zip's regular files below `target` (or `only` the member of that name), and return their paths.

    Raises:
        IntegrityError: an entry would land outside `target`, is a link or a device, or there is more than promised.
    """
    written: list[Path] = []
    with zipfile.ZipFile(archive) as opened:
        for entry in regular_members(opened, max_entries=max_entries):
            if only not in (None, entry.filename):
                continue
            path = _inside(target, entry.filename)
            with opened.open(entry) as file:
                content = iter(lambda file=file: file.read(CHUNK), b"")  # type: ignore[misc]
                written.append(atomic_write(path, _at_most(content, max_bytes, archive.name)))
            max_bytes -= written[-1].stat().st_size
    return written


def regular_members(archive: zipfile.ZipFile, *, max_entries: int) -> Iterator[zipfile.ZipInfo]:
    """Yield a zip's regular files, by name.

    Raises:
        IntegrityError: there are too many entries, two of one name, or one that is neither file nor folder.
    """
    entries = archive.infolist()
    if len(entries) > max_entries:
        raise IntegrityError(
            f"{archive.filename} holds {len(entries):,} entries", why=f"at most {max_entries:,} may be"
        )
    if len({entry.filename for entry in entries}) != len(entries):
        raise IntegrityError(f"{archive.filename} holds two entries of one name")
    for entry in sorted(entries, key=lambda entry: entry.filename):
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise IntegrityError(f"{archive.filename} holds {entry.filename!r}", why="it is a link or a device")
        if not entry.is_dir():
            yield entry


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


def _space(path: Path, needed: int | None) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = f"{shutil.disk_usage(folder).free:,} bytes are free in {folder}"
    return free if needed is None else f"{needed:,} bytes are needed, {free}"


def _not_as_promised(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"{name} is not the promised file", why=why)


def _at_most(chunks: Iterable[bytes], limit: int, name: str) -> Iterator[bytes]:
    for chunk in chunks:
        limit -= len(chunk)
        if limit < 0:
            raise IntegrityError(f"{name} unpacks to more than it may")
        yield chunk


def _inside(target: Path, name: str) -> Path:
    root = target.resolve()
    path = (root / name).resolve()
    if "\\" in name or "\0" in name or path == root or not path.is_relative_to(root):
        raise IntegrityError(f"an archive holds {name!r}", why=f"that is not a place inside {target}")
    return path


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
