"""The one place for bytes from outside: content-addressed, verified by sha256, atomic; safe to share and to kill."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from zoo_core.cards import File, HubFile, Source, resolve
from zoo_core.disk.atomic import atomic_write, disk_errors, hash_of, read_chunks, sweep
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.disk.failpoints import failpoint
from zoo_core.errors import DataError, IntegrityError, NetworkError, PluginError, UsageError, ZooError
from zoo_core.events import OnEvent, Progress, ignore_event
from zoo_core.store.archives import readable
from zoo_core.store.http import RetryPolicy
from zoo_core.store.sources import ask_hub, is_remote, opened

LOG = logging.getLogger(__name__)
IN_FOLDERS = ("files", "features", "pins", "scratch")  # where temporary files may be left
PATIENCE = RetryPolicy()


@dataclass(frozen=True)
class Entry:
    """One file in the Store: `key` is the hash of what it holds (files) or of what it was computed from (features)."""

    path: Path
    kind: str  # "file" | "features"
    key: str
    size: int  # bytes


@dataclass(frozen=True)
class Store:
    """A folder of verified files. `offline` forbids the network; what is here needs none."""

    root: Path
    offline: bool = False
    patience: RetryPolicy = PATIENCE

    @classmethod
    def default(cls) -> Store:
        """Return the user's store: $ZOO_CACHE, else the platform's cache folder; offline with ZOO_OFFLINE=1."""
        root = os.environ.get("ZOO_CACHE")
        offline = os.environ.get("ZOO_OFFLINE", "").lower() not in ("", "0", "no", "off", "false")
        try:
            return cls(Path(root).expanduser() if root else user_cache_path("zoo"), offline)
        except RuntimeError as error:
            raise UsageError(f"ZOO_CACHE={root} is no folder", why=str(error), fix="export ZOO_CACHE=FOLDER") from error

    def pinned(self, file: File | HubFile, name: str) -> File:
        """Return the file with its hash: of one on the hub, as the hub gave it when it was first asked.

        The answer is kept below `pins`, so that a name means the same bytes ever after, and offline too.

        Raises:
            NetworkError: it was never asked, and cannot be now.
        """
        if isinstance(file, File):
            return file
        if (known := self._pin(file)) is not None:
            return known
        if self.offline:
            raise NetworkError(
                f"{name} was not asked for", why="ZOO_OFFLINE is set", fix=f"ZOO_OFFLINE=0 zoo pull {name}"
            )
        found = ask_hub(file, self.patience)
        self._folder("pins")
        atomic_write(self._pin_path(file), dump_document(found.model_dump(mode="json")))
        return found

    def pins(self) -> list[File]:
        """Return the files on the hub whose hashes are known."""
        return [pin for path in _visible(self.root / "pins") if (pin := _read_pin(path)) is not None]

    def path_of(self, file: File) -> Path:
        """Return where the file's content lies, or would lie."""
        return self.root / "files" / file.sha256

    def has(self, file: File | HubFile) -> bool:
        """Tell whether the file is here, whole by its size; a cut one counts as absent and is fetched anew."""
        known = self._pin(file) if isinstance(file, HubFile) else file
        path = self.path_of(known) if known is not None else None
        return known is not None and path is not None and path.is_file() and path.stat().st_size == known.size

    def fetch(self, file: File | HubFile, name: str, on_event: OnEvent = ignore_event) -> Path:
        """Return a path to the file's content, from the first of its sources that can give it.

        A file of an installed package is verified and used where it lies; all else is kept here. `name` is for
        messages.

        Raises:
            NetworkError: no source could be reached, or we are offline.
            IntegrityError: what the last source gave is not the promised file.
            ResourceError: it could not be written.
        """
        file = self.pinned(file, name)
        if self.has(file):
            return self.path_of(file)
        if _is_shipped(file.sources[0]):  # needs no lock, and no cache that can be written
            return self._from_source(file, file.sources[0], name, on_event)
        with self._lock(file, name):
            if self.has(file):  # another process was faster
                return self.path_of(file)
            self.sweep()
            return self._from_sources(file, name, on_event)

    def import_file(self, file: File, candidates: Iterable[Path]) -> Path | None:
        """Keep the first local file whose content is this file's, however it is packed; None if there is none."""
        self._folder("files")
        for path in candidates:
            for reader in dict.fromkeys([*(source.reader for source in file.sources), None]):
                try:
                    return self._publish(file, path, reader, path.name)
                except IntegrityError:
                    continue
        return None

    def get_cached(self, key: str) -> bytes | None:
        """Return what was kept under a key, or None; a damaged copy is thrown away, to be computed again."""
        for path in self._features(key):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem.partition("-")[2]:
                return content
            with suppress(OSError):  # where it cannot be deleted it does no harm
                failpoint("store.forget")
                path.unlink()
        return None

    def keep(self, key: str, content: bytes) -> Path:
        """Keep computed content under the hash of what it was computed from; its own hash goes into the name."""
        name = f"{key}-{hashlib.sha256(content).hexdigest()}.safetensors"
        return atomic_write(self._folder("features") / name, content)

    def entries(self) -> list[Entry]:
        """Return all that is here, sorted."""
        files = [Entry(p, "file", p.name, p.stat().st_size) for p in _visible(self.root / "files")]
        features = [Entry(p, "features", p.stem.partition("-")[0], p.stat().st_size) for p in self._features("")]
        return files + features

    def verify(self, entry: Entry) -> bool:
        """Tell whether an entry's bytes still have the hash in its name."""
        return hash_of(entry.path) == (entry.key if entry.kind == "file" else entry.path.stem.partition("-")[2])

    def remove(self, entry: Entry) -> None:
        """Delete an entry; it is fetched or computed again when next needed."""
        with disk_errors(entry.path):
            failpoint("store.remove")
            entry.path.unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete what killed processes left unfinished more than a day ago; return how many files and folders."""
        return sum(sweep(self.root / name) for name in IN_FOLDERS)

    def _folder(self, name: str) -> Path:
        """Return a folder of the Store; both are made if need be, the Store itself for its owner's eyes only."""
        with disk_errors(self.root / name):
            failpoint("store.folder")
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.root / name).mkdir(exist_ok=True)
        return self.root / name

    def _pin(self, file: HubFile) -> File | None:
        return _read_pin(self._pin_path(file))

    def _pin_path(self, file: HubFile) -> Path:
        return self.root / "pins" / f"{hashlib.sha256(file.model_dump_json().encode()).hexdigest()}.json"

    def _features(self, key: str) -> list[Path]:
        return [path for path in _visible(self.root / "features") if path.name.startswith(key)]

    def _from_sources(self, file: File, name: str, on_event: OnEvent) -> Path:
        failures: list[ZooError] = []
        for source in file.sources:
            try:
                return self._from_source(file, source, name, on_event)
            except (NetworkError, IntegrityError, DataError, PluginError) as error:
                failures.append(error)
        raise _summary(name, failures)

    def _from_source(self, file: File, source: Source, name: str, on_event: OnEvent) -> Path:
        if self.offline and is_remote(source):
            raise NetworkError(f"{source.uri} was not asked", why="ZOO_OFFLINE is set")
        if _is_shipped(source):
            with opened(source, self.root, lambda *_: None, self.patience) as path:
                return path

        def on_bytes(done: int, total: int) -> None:
            on_event(Progress("fetching", done, total, "B"))

        with opened(source, self._folder("scratch"), on_bytes, self.patience) as path:
            self._folder("files")
            return self._publish(file, path, source.reader, source.uri)

    def _publish(self, file: File, path: Path, reader: str | None, name: str) -> Path:
        return atomic_write(self.path_of(file), _content(path, reader, name), size=file.size, sha256=file.sha256)

    @contextmanager
    def _lock(self, file: File, name: str) -> Iterator[None]:
        """Keep other processes from fetching the same, where locks work; where they do not, go on without."""
        lock = FileLock(self._folder("locks") / file.sha256)
        try:
            failpoint("store.lock")
            self._acquire(lock, name)
        except (Timeout, OSError, NotImplementedError):  # a hung process, or a file system without locks
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _acquire(self, lock: FileLock, name: str) -> None:
        try:
            lock.acquire(timeout=self.patience.silence)
        except Timeout:
            LOG.warning("%s is being fetched by another process; waiting for it", name)
            lock.acquire(timeout=max(0, self.patience.lock - self.patience.silence))


def _content(path: Path, reader: str | None, name: str) -> Iterator[bytes]:
    """Read a file through its reader; a file that is not the reader's is not the promised one."""
    with readable(name):
        yield from read_chunks(path) if reader is None else resolve(reader)(path)


def _read_pin(path: Path) -> File | None:
    """Return what the hub once said; None: nothing yet, or it cannot be read any more and will be asked again."""
    try:
        return File.model_validate_json(json.dumps(load_document(path.read_bytes())[1]))
    except (OSError, ValueError, RecursionError):
        return None


def _is_shipped(source: Source) -> bool:
    return source.uri.startswith("package:") and source.reader is None


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))


def _summary(name: str, failures: list[ZooError]) -> ZooError:
    """One error for all the sources that failed, of the last one's kind."""
    why = "\n".join(f"  {failure.what}: {failure.why}" for failure in failures)
    return type(failures[-1])(
        f"{name} could not be had", why=why, fix=failures[-1].fix or f"zoo pull {name} --from FILE"
    )
