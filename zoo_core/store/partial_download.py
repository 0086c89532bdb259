"""A download as far as it has come: kept where the next process finds it, and copied by that one, never taken over.

A process that seems to be gone may be slow instead, and go on writing. What it writes to must never become ours.
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
LONGEST_ETAG = 80  # characters, percent-encoded; a longer one is not kept, and the hash at the end must do alone
HEAD = 512  # bytes from the beginning, by which a page is known


class Partial:
    """The first bytes of a source, in a file in `scratch` that only we write.

    `count` bytes are here; `etag` is the server's name for the content that they begin. `joined` tells that they came
    in several pieces, which may not belong together.
    """

    def __init__(self, scratch: Path, sha256: str, size: int) -> None:
        self._scratch, self._sha256, self._size = scratch, sha256, size
        self._begin("")

    def resume(self) -> None:
        """Begin with a copy of the longest that others have left."""
        if longest := max(self._others(), key=_length, default=None):
            self.restart(_etag(longest))
            self._copy(longest)

    def restart(self, etag: str | None) -> None:
        """Begin again with nothing."""
        self.drop()
        self._begin(etag or "")

    def add(self, chunk: bytes) -> None:
        """Write what comes next."""
        failpoint("partial.write")
        self._file.write(chunk)
        self._digest.update(chunk)
        self.head += chunk[: HEAD - len(self.head)]
        self.count += len(chunk)

    def complete(self) -> str:
        """See to it that all is on the disk, and return the sha256."""
        failpoint("partial.sync")
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def leave(self) -> None:
        """Give it up, for another process or a later try to find."""
        if self.count == 0:
            return self.drop()
        self._close()
        with suppress(OSError):
            failpoint("partial.leave")
            self.path.replace(self._scratch / temporary_name(self._name, NOBODY))
        return None

    def drop(self) -> None:
        """Delete it."""
        self._close()
        remove(self.path)

    def drop_all(self) -> None:
        """Delete it, and what processes that are gone have left of the same source."""
        self.drop()
        for path in self._others():
            if is_gone(path):
                remove(path)

    def _begin(self, etag: str) -> None:
        self.etag, self.count, self.joined, self.head = etag, 0, False, b""
        self._digest = hashlib.sha256()
        self._name = f"{self._sha256}-{_kept(etag)}"
        self.path = self._scratch / temporary_name(self._name)
        failpoint("partial.create")
        self._file = self.path.open("xb")

    def _copy(self, other: Path) -> None:
        with suppress(FileNotFoundError):  # it went meanwhile
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


def _kept(etag: str) -> str:
    """Return an ETag as a part of a file's name; a weak one does not promise the same bytes."""
    kept = quote(etag, safe="")
    return kept if etag.startswith('"') and len(kept) <= LONGEST_ETAG else ""


def _etag(path: Path) -> str:
    named = NAMED.fullmatch(path.name)
    return unquote(named[1]) if named else ""


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it went meanwhile
        return -1
