"""Zips: every entry is examined before anything is unpacked, and what is unpacked lands inside one folder."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from zoo_core.disk.atomic import CHUNK, atomic_write
from zoo_core.errors import IntegrityError

LOCAL_HEADER = 30  # bytes before an entry of a zip, at least
# what is raised over a file that is cut, is encrypted, or is packed in a way that is not known
UNREADABLE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def extract(archive: Path, target: Path, *, only: str | None = None, max_bytes: int, max_entries: int) -> list[Path]:
    """Unpack a zip's regular files below `target` (or `only` the member of that name), and return their paths.

    Raises:
        IntegrityError: it is no whole zip, an entry would land outside `target`, is a link or a device, or there is
            more than promised.
    """
    written: list[Path] = []
    with readable(archive.name), zipfile.ZipFile(archive) as opened:
        for entry in regular_members(opened, max_entries=max_entries):
            if only not in (None, entry.filename):
                continue
            path = _inside(target, entry.filename)
            with opened.open(entry) as file:
                content = _at_most(iter(lambda file=file: file.read(CHUNK), b""), max_bytes, archive.name)  # type: ignore[misc]
                written.append(atomic_write(path, content, size=entry.file_size))
            max_bytes -= written[-1].stat().st_size
    return written


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what is raised over a file that cannot be unpacked into an IntegrityError: it is not the promised one."""
    try:
        yield
    except UNREADABLE as error:
        raise IntegrityError(f"{name} cannot be read", why=f"{type(error).__name__}: {error}") from error


def regular_members(archive: zipfile.ZipFile, *, max_entries: int) -> Iterator[zipfile.ZipInfo]:
    """Yield a zip's regular files, by name; nothing is yielded unless every entry may be.

    Raises:
        IntegrityError: there are too many entries, two of one name, two that share bytes, one with a name that is no
            place inside a folder, or one that is encrypted or neither file nor folder.
    """
    name, entries = archive.filename, archive.infolist()
    if len(entries) > max_entries:
        raise IntegrityError(f"{name} holds {len(entries):,} entries", why=f"at most {max_entries:,} may be")
    for entry in entries:
        if why := _objection(entry):
            raise IntegrityError(f"{name} holds {entry.orig_filename!r}", why=why)
    _refuse_collisions(name, entries)
    _refuse_overlaps(name, entries, archive.start_dir)
    yield from sorted((one for one in entries if not one.is_dir()), key=lambda entry: entry.filename)


def _objection(entry: zipfile.ZipInfo) -> str:
    """Say why an entry must not be unpacked, if so."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.split("/")
    elsewhere = (name.startswith("/"), re.match("[A-Za-z]:", name), {"\\", "\0"} & set(name), ".." in parts)
    if not entry.filename or any(elsewhere):
        return "that is not a place inside a folder"
    if any(len(part.encode(errors="replace")) > 255 for part in parts):
        return "a part of this name is longer than 255 bytes"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or a device"
    if entry.flag_bits & 1:
        return "it is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"it is packed by method {entry.compress_type}; stored (0) and deflated (8) are known"
    return ""


def _refuse_collisions(name: str | None, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse names that some file systems do not tell apart, and a file that other entries take for a folder."""
    files = {_place(entry) for entry in entries if not entry.is_dir()}
    folders = {folder for place in files for folder in place.parents}
    for place, count in Counter(map(_place, entries)).items():
        if count > 1 or (place in files and place in folders):
            raise IntegrityError(
                f"{name} holds two entries of one name", why=f"{str(place)!r}, or what some take for it"
            )


def _place(entry: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(normalize("NFC", normalize("NFC", entry.filename).casefold()))


def _refuse_overlaps(name: str | None, entries: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse entries that share bytes: so a small zip unpacks to a huge folder."""
    spans = sorted((one.header_offset, one.header_offset + LOCAL_HEADER + one.compress_size) for one in entries)
    if any(stop > start for (_, stop), (start, _) in pairwise([*spans, (end, end)])):
        raise IntegrityError(f"{name} holds entries that overlap")


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
