"""The cache folder on disk: only names that zoo itself makes are ever listed, changed or deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zoo_core.disk.atomic import atomic_write, disk_errors, sweep
from zoo_core.disk.documents import dump_document
from zoo_core.disk.failpoints import failpoint
from zoo_core.disk.temporary_names import is_temporary
from zoo_core.errors import ResourceError, UsageError

MARKER = "zoo-cache.json"  # in every cache folder
ANY_NAME = re.compile("[0-9a-f]{64}")
NAMES = {  # subfolder: the names in it
    "files": ANY_NAME,  # the SHA-256 of the content
    "features": re.compile(r"([0-9a-f]{64})-([0-9a-f]{64})\.safetensors"),  # key and SHA-256 of the content
    "pins": re.compile(r"([0-9a-f]{64})\.json"),
    "locks": ANY_NAME,
    "scratch": re.compile("(?!)"),  # temporary files only
}


@dataclass(frozen=True)
class Entry:
    """One file in the cache.

    `key` is the SHA-256 of the content (kind "file"), of what features were computed from ("features"), or of the
    description of the file on the Hub that is pinned ("pin").
    """

    path: Path
    kind: str  # "file" | "features" | "pin"
    key: str
    size: int  # bytes


@dataclass(frozen=True)
class CacheFolder:
    """A folder with a marker file and one subfolder for each kind of file."""

    root: Path

    def subfolder(self, name: str) -> Path:
        """Return a subfolder to write to; create it, and the marked cache folder with access for its owner only.

        Raises:
            UsageError: the folder is not a cache.
            ResourceError: it cannot be written.
        """
        with disk_errors(self.root / name):
            failpoint("store.folder")
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.require_cache()
            if not (self.root / MARKER).exists():  # the folder is new, or an older version of zoo made it
                atomic_write(self.root / MARKER, dump_document({"about": "cache of zoo; see zoo cache --help"}))
            (self.root / name).mkdir(exist_ok=True)
        return self.root / name

    def entries(self) -> list[Entry]:
        """Return every finished file except locks, sorted."""
        kinds = {"file": "files", "features": "features", "pin": "pins"}
        paths = [(kind, path) for kind, folder in kinds.items() for path in self.paths(folder)]
        return [Entry(path, kind, path.stem.partition("-")[0], path.stat().st_size) for kind, path in paths]

    def paths(self, name: str) -> list[Path]:
        """Return the finished files in a subfolder, sorted."""
        if self._is_linked(name):
            return []
        paths = (path for path in (self.root / name).glob("*") if NAMES[name].fullmatch(path.name))
        return sorted(path for path in paths if path.is_file())

    def remove(self, path: Path) -> None:
        """Delete one of `paths`.

        Raises:
            UsageError: the folder is not a cache.
            ResourceError: permission is denied.
        """
        with disk_errors(path):
            self.require_cache()
            failpoint("store.remove")
            path.unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete the temporary files and folders abandoned over a day ago; return how many.

        Raises:
            UsageError: the folder is not a cache.
        """
        self.require_cache()
        return sum(sweep(folder) for folder in (self.root, *(self.root / name for name in NAMES)))

    def require_cache(self) -> None:
        """Raise UsageError if zoo must not write here: a subfolder is a link, or an unmarked folder has other files."""
        if linked := [name for name in NAMES if self._is_linked(name)]:
            raise _refusal(self.root, f"{self.root / linked[0]} is a link, and what it points to may not be zoo's")
        with disk_errors(self.root):
            if not (self.root / MARKER).exists() and (foreign := next(self._foreign(), None)):
                raise _refusal(self.root, f"{foreign} is in it, which zoo did not write")

    def _is_linked(self, name: str) -> bool:
        return (self.root / name).is_symlink()

    def _foreign(self) -> Iterator[Path]:
        """Yield what zoo did not write."""
        for path in _entries(self.root):
            if path.name in NAMES and path.is_dir():
                names = NAMES[path.name]
                yield from (p for p in _entries(path) if not (names.fullmatch(p.name) or is_temporary(p)))
            elif path.name != MARKER and not is_temporary(path):
                yield path


@contextmanager
def cache_advice() -> Iterator[None]:
    """Add to a ResourceError what to do about it if the file that was not written belongs to the cache."""
    try:
        yield
    except ResourceError as error:
        why = f"{error.why}\nzoo cache rm NAME frees space in the cache, and ZOO_CACHE moves it to another folder"
        raise ResourceError(error.what, why=why, fix="zoo cache ls") from error


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):  # it does not exist, or another process has just deleted it
        return sorted(folder.iterdir())
    return []


def _refusal(root: Path, why: str) -> UsageError:
    return UsageError(f"{root} is not a zoo cache, so zoo leaves it alone", why=why, fix="export ZOO_CACHE=NEW_FOLDER")
