"""Partial downloads: a later process finds and copies them, and never takes them over.

A process that seems to be gone may only be slow, and still write. The file it writes to must never become ours.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from zoo_core.disk.atomic import read_chunks, remove
from zoo_core.disk.failpoints import failpoint
from zoo_core.disk.temporary_names import NOBODY, is_gone, temporary_name

NAMED = re.compile(r"\.[0-9a-f]{64}-(.*)\.[0-9a-f]{16}\.\d+@.*\.part")  # the group is the ETag
LONGEST_ETAG = 80  # characters, percent-encoded; a longer one is not saved, and only the final hash decides
HEAD = 512  # first bytes, by which an HTML page is recognized


class Partial:
    """The first `count` bytes of a source, in a file in `scratch` that only this process writes.

    `etag` is the server's name for the content that they begin. `joined` is true if they came in several pieces, which
    may not belong together.
    """

    def __init__(self, scratch: Path, sha256: str, size: int) -> None:
        self._scratch, self._sha256, self._size = scratch, sha256, size
        self._start("")

    def resume(self) -> None:
        """Start with a copy of the longest partial file that other processes have left."""
        if longest := max(self._others(), key=_length, default=None):
            self.restart(_etag(longest))
            self._copy(longest)

    def restart(self, etag: str | None) -> None:
        """Start again with an empty file."""
        self.drop()
        self._start(etag or "")

    def add(self, chunk: bytes) -> None:
        """Append the next chunk."""
        failpoint("partial.write")
        self._file.write(chunk)
        self._digest.update(chunk)
        self.head += chunk[: HEAD - len(self.head)]
        self.count += len(chunk)

    def complete(self) -> str:
        """Sync the file to disk, and return its SHA-256."""
        failpoint("partial.sync")
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def leave(self) -> None:
        """Stop writing, and leave the file for another process or a later try."""
        if self.count == 0:
            return self.drop()
        self._close()
        with suppress(OSError):
            failpoint("partial.leave")
            self.path.replace(self._scratch / temporary_name(self._name, NOBODY))
        return None

    def drop(self) -> None:
        """Delete the file."""
        self._close()
        remove(self.path)

    def drop_all(self) -> None:
        """Delete the file, and those that processes which have ended left of the same source."""
        self.drop()
        for path in self._others():
            if is_gone(path):
                remove(path)

    def _start(self, etag: str) -> None:
        self.etag, self.count, self.joined, self.head = etag, 0, False, b""
        self._digest = hashlib.sha256()
        self._name = f"{self._sha256}-{_quoted(etag)}"
        self.path = self._scratch / temporary_name(self._name)
        failpoint("partial.create")
        self._file = self.path.open("xb")

    def _copy(self, other: Path) -> None:
        with suppress(FileNotFoundError):  # it was deleted in the meantime
            for chunk in read_chunks(other):
                failpoint("partial.copy")
                self.add(chunk[: self._size - self.count])
                if self.count == self._size:
                    break
        self.joined = self.count > 0

    def _others(self) -> list[Path]:
        return [path for path in self._scratch.glob(f".{self._sha256}-*.part") if path != self.path]

    def _close(self) -> None:
        with suppress(OSError):
            self._file.close()


def _quoted(etag: str) -> str:
    """Return an ETag as a part of a file name; a weak one does not promise identical bytes and is dropped."""
    quoted = quote(etag, safe="")
    return quoted if etag.startswith('"') and len(quoted) <= LONGEST_ETAG else ""


def _etag(path: Path) -> str:
    named = NAMED.fullmatch(path.name)
    return unquote(named[1]) if named else ""


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was deleted in the meantime
        return -1
