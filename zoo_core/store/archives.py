"""Zip archives: every entry is checked before anything is extracted, and nothing lands outside the target folder."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from zoo_core.disk.atomic import CHUNK, atomic_write
from zoo_core.errors import IntegrityError

LOCAL_HEADER = 30  # bytes before an entry of a zip, at least
# what reading raises for a file that is truncated, encrypted, or packed by an unknown method
UNREADABLE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def extract(archive: Path, target: Path, *, only: str | None = None, max_bytes: int, max_entries: int) -> list[Path]:
    """Extract a zip's regular files below `target` (or `only` the member of that name), and return their paths.

    Raises:
        IntegrityError: it is not a complete zip, an entry would land outside `target`, is a link or a device, or there
            are more bytes or entries than the limits.
    """
    written: list[Path] = []
    with readable(archive.name), zipfile.ZipFile(archive) as opened:
        members = list(regular_members(opened, max_entries=max_entries))
        chosen = [entry for entry in members if only in (None, entry.filename)]
        if (declared := sum(entry.file_size for entry in chosen)) > max_bytes:  # zipfile never reads more than declared
            why = f"{declared:,} bytes unpacked, at most {max_bytes:,} are allowed"
            raise IntegrityError(f"{archive.name} exceeds the extraction limit", why=why)
        for entry in chosen:
            path = _inside(target, entry.filename)
            with opened.open(entry) as file:
                content = iter(lambda file=file: file.read(CHUNK), b"")  # type: ignore[misc]
                written.append(atomic_write(path, content, size=entry.file_size))
    return written


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn the errors of reading a broken file into an IntegrityError: it is not the expected one."""
    try:
        yield
    except FileNotFoundError:  # a file that is gone says nothing about its content
        raise
    except UNREADABLE as error:
        raise IntegrityError(f"{name} cannot be read", why=f"{type(error).__name__}: {error}") from error


def regular_members(archive: zipfile.ZipFile, *, max_entries: int) -> Iterator[zipfile.ZipInfo]:
    """Yield a zip's regular files, sorted by name, after checking every entry.

    Raises:
        IntegrityError: there are too many entries, two with the same name, two that share bytes, one whose name is not
            a path inside a folder, or one that is encrypted or neither a file nor a folder.
    """
    name, entries = archive.filename, archive.infolist()
    if len(entries) > max_entries:
        raise IntegrityError(f"{name} has {len(entries):,} entries", why=f"at most {max_entries:,} are allowed")
    for entry in entries:
        if why := _objection(entry):
            raise IntegrityError(f"{name} has an entry {entry.orig_filename!r}", why=why)
    _refuse_collisions(name, entries)
    _refuse_overlaps(name, entries, archive.start_dir)
    yield from sorted((entry for entry in entries if not entry.is_dir()), key=lambda entry: entry.filename)


def _objection(entry: zipfile.ZipInfo) -> str:
    """Return why an entry must not be extracted; empty if it may be."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.split("/")
    outside = (name.startswith("/"), re.match("[A-Za-z]:", name), {"\\", "\0"} & set(name), ".." in parts)
    if not entry.filename or any(outside):
        return "this is not a path inside a folder"
    if any(len(part.encode(errors="replace")) > 255 for part in parts):
        return "a part of its name is longer than 255 bytes"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or a device"
    if entry.flag_bits & 1:
        return "it is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"its compression method is {entry.compress_type}; only 0 (stored) and 8 (deflated) are supported"
    return ""


def _refuse_collisions(name: str | None, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse names that some file systems treat as equal, and a file where other entries need a folder."""
    files = {_normalized(entry) for entry in entries if not entry.is_dir()}
    folders = {folder for path in files for folder in path.parents}
    for path, count in Counter(map(_normalized, entries)).items():
        if count > 1 or (path in files and path in folders):
            raise IntegrityError(
                f"{name} has two entries with the same name",
                why=f"{str(path)!r}, or equal to it on some file systems",
            )


def _normalized(entry: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(normalize("NFC", normalize("NFC", entry.filename).casefold()))


def _refuse_overlaps(name: str | None, entries: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse entries that share bytes: that is how a small zip unpacks to a huge folder."""
    spans = sorted((e.header_offset, e.header_offset + LOCAL_HEADER + e.compress_size) for e in entries)
    if any(stop > start for (_, stop), (start, _) in pairwise([*spans, (end, end)])):
        raise IntegrityError(f"{name} has entries that overlap")


def _inside(target: Path, name: str) -> Path:
    root = target.resolve()
    path = (root / name).resolve()
    if "\\" in name or "\0" in name or path == root or not path.is_relative_to(root):
        raise IntegrityError(f"an archive has an entry {name!r}", why=f"it is not a path inside {target}")
    return path
