"""The cache of everything that comes from outside: named by SHA-256, verified, atomic; safe to share and to kill."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from zoo_core.cards.fields import resolve
from zoo_core.cards.files import File, HubFile, Source
from zoo_core.disk.atomic import atomic_write, hash_of, read_chunks
from zoo_core.disk.failpoints import failpoint
from zoo_core.errors import DataError, IntegrityError, NetworkError, PluginError, ResourceError, UsageError, ZooError
from zoo_core.events import OnEvent, Progress, ignore_event
from zoo_core.store.archives import readable
from zoo_core.store.cache_folder import NAMES, CacheFolder, Entry, cache_advice
from zoo_core.store.http import RetryPolicy
from zoo_core.store.hub import ask_hub
from zoo_core.store.pins import Pins, read_pin
from zoo_core.store.sources import is_remote, opened

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A folder of verified files. `offline` forbids network access; cached files do not need it."""

    root: Path
    offline: bool = False
    retry: RetryPolicy = field(default=RetryPolicy(), kw_only=True, repr=False)

    @classmethod
    def default(cls) -> Store:
        """Return the user's store: in $ZOO_CACHE, else the platform's cache folder; offline with ZOO_OFFLINE=1.

        Raises:
            UsageError: ZOO_CACHE begins with a `~` that cannot be expanded.
        """
        root = os.environ.get("ZOO_CACHE")
        offline = os.environ.get("ZOO_OFFLINE", "").lower() not in ("", "0", "no", "off", "false")
        try:
            return cls(Path(root).expanduser() if root else user_cache_path("zoo"), offline)
        except RuntimeError as error:
            raise UsageError(
                f"ZOO_CACHE={root} is not a folder", why=str(error), fix="export ZOO_CACHE=FOLDER"
            ) from error

    def pinned(self, file: File | HubFile, name: str, on_event: OnEvent = ignore_event) -> File:
        """Return the file with its hash; a file on the Hub is downloaded first, unless it is cached.

        Raises:
            NetworkError, IntegrityError, ResourceError: as `fetch`.
        """
        if isinstance(file, File):
            return file
        if (known := self._pins.get(file)) is not None:
            return known
        return self._fetch_from_hub(file, name, on_event)[0]

    def pins(self) -> dict[str, File]:
        """Return the files on the Hub whose hashes are pinned, by the key of their `Entry`."""
        return self._pins.all()

    def path_of(self, file: File) -> Path:
        """Return where the file's content is, or would be."""
        return self.root / "files" / file.sha256

    def has(self, file: File | HubFile) -> bool:
        """Return whether the file is cached with its full size; a truncated one counts as missing."""
        known = self._pins.get(file) if isinstance(file, HubFile) else file
        if known is None:
            return False
        path = self.path_of(known)
        return path.is_file() and path.stat().st_size == known.size

    def fetch(self, file: File | HubFile, name: str, on_event: OnEvent = ignore_event) -> Path:
        """Return a path to the file's content, from the first of its sources that works.

        A file of an installed package is verified and used in place; anything else is cached here.

        Args:
            file: what to fetch. A file on the Hub keeps the hash that it had when it was first downloaded.
            name: what messages call it.
            on_event: called with the progress, in bytes.

        Raises:
            NetworkError: no source could be reached, or the Store is offline.
            IntegrityError: the last source gave other bytes than expected.
            ResourceError: it could not be written.
            UsageError: the folder holds files that are not zoo's.
        """
        if isinstance(file, HubFile):
            return self._fetch_from_hub(file, name, on_event)[1]
        if self.has(file):
            return self.path_of(file)
        if _is_shipped(file.sources[0]):  # needs neither a lock nor a writable cache
            return self._from_source(file, file.sources[0], name, on_event)
        with cache_advice(), self._lock(file, name):
            if self.has(file):  # another process was faster
                return self.path_of(file)
            self.sweep()
            return self._from_sources(file, name, on_event)

    def import_file(self, file: File | HubFile, candidates: Iterable[Path]) -> Path | None:
        """Cache the first local file with this file's content, packed or unpacked; None if there is none.

        Raises:
            NetworkError: the file is on the Hub, its hash is not pinned, and the Hub cannot be reached.
            ResourceError: it could not be written.
        """
        content = self._ask(file) if isinstance(file, HubFile) else file
        with cache_advice():
            self._folder.subfolder("files")
            path = self._import(content, candidates)
            if path is not None and isinstance(file, HubFile):
                self._pins.save(file, content)
        return path

    def get_cached(self, key: str) -> bytes | None:
        """Return the features cached under a key, or None; a damaged copy is deleted, to be computed again."""
        for path in self._features(key):
            content = path.read_bytes()
            if _keep_if_intact(path, hashlib.sha256(content).hexdigest()):
                return content
        return None

    def cached_path(self, key: str) -> Path | None:
        """Return the file of the features cached under a key, or None; a damaged one is deleted, as by `get_cached`."""
        for path in self._features(key):
            with suppress(OSError):  # another process deleted it
                if _keep_if_intact(path, hash_of(path)):
                    return path
        return None

    def put_cached(self, key: str, content: bytes) -> Path:
        """Cache computed features; `key` is the SHA-256 of what they were computed from, in hexadecimal digits."""
        name = f"{key}-{hashlib.sha256(content).hexdigest()}.safetensors"
        if not NAMES["features"].fullmatch(name):
            raise ValueError(f"{key!r} is not a SHA-256 in hexadecimal digits")
        with cache_advice():
            return atomic_write(self._folder.subfolder("features") / name, content)

    def entries(self) -> list[Entry]:
        """Return everything in the Store, sorted; files that zoo did not write are not listed."""
        return self._folder.entries()

    def verify(self, entry: Entry) -> bool:
        """Return whether an entry's bytes still match the hash in its name; of a pin, whether it can be read."""
        if entry.kind == "pin":
            return read_pin(entry.path) is not None
        return hash_of(entry.path) == (entry.key if entry.kind == "file" else entry.path.stem.partition("-")[2])

    def remove(self, entry: Entry) -> None:
        """Delete an entry; it is downloaded or computed again when next needed."""
        with cache_advice():
            self._folder.remove(entry.path)

    def sweep(self) -> int:
        """Delete what killed processes left unfinished over a day ago; return how many files and folders."""
        return self._folder.sweep()

    @property
    def _folder(self) -> CacheFolder:
        return CacheFolder(self.root)

    @property
    def _pins(self) -> Pins:
        return Pins(self._folder)

    def _features(self, key: str) -> list[Path]:
        return [path for path in self._folder.paths("features") if path.name.startswith(key)]

    def _ask(self, file: HubFile, name: str = "") -> File:
        """Return a file's pin, else what the Hub says about it now, which is not verified yet."""
        if (known := self._pins.get(file)) is not None:
            return known
        if self.offline:
            name = name or f"{file.repo}/{file.filename}"
            raise NetworkError(
                f"{name} was never downloaded", why="ZOO_OFFLINE is set", fix=f"ZOO_OFFLINE=0 zoo pull {_target(name)}"
            )
        return ask_hub(file, self.retry)

    def _fetch_from_hub(self, file: HubFile, name: str, on_event: OnEvent) -> tuple[File, Path]:
        """Fetch a file on the Hub, and pin its hash once the bytes have been verified against it."""
        content = self._ask(file, name)
        pinned = self._pins.get(file) is not None
        try:
            path = self.fetch(content, name, on_event)
        except IntegrityError as error:
            if not pinned:
                raise
            why = f"{error.why}\nIts hash was pinned when it was first downloaded; zoo cache rm forgets that"
            raise IntegrityError(error.what, why=why, fix=f"zoo cache rm {quote(file.repo)}") from error
        if not pinned:
            with cache_advice():
                self._pins.save(file, content)
        return content, path

    def _from_sources(self, file: File, name: str, on_event: OnEvent) -> Path:
        failures: list[ZooError] = []
        for source in file.sources:
            try:
                return self._from_source(file, source, name, on_event)
            except (NetworkError, IntegrityError, DataError, PluginError, ResourceError) as error:
                if self.has(file):  # where locks do nothing, another process was faster
                    return self.path_of(file)
                if isinstance(error, ResourceError):
                    raise
                failures.append(error)
        raise _summary(name, failures)

    def _from_source(self, file: File, source: Source, name: str, on_event: OnEvent) -> Path:
        if self.offline and is_remote(source):
            raise NetworkError(f"{source.uri} was not downloaded", why="ZOO_OFFLINE is set")
        if _is_shipped(source):
            with opened(source, self.root, lambda *_: None, self.retry) as path:
                return path

        def on_bytes(done: int, total: int) -> None:
            on_event(Progress("fetching", done, total, "B"))

        with opened(source, self._folder.subfolder("scratch"), on_bytes, self.retry) as path:
            self._folder.subfolder("files")
            return self._publish(file, path, source.reader, source.uri)

    def _import(self, file: File, candidates: Iterable[Path]) -> Path | None:
        readers = dict.fromkeys([*(source.reader for source in file.sources), None])
        for path in candidates:
            for reader in readers:
                with suppress(IntegrityError, OSError):
                    if _may_contain(path, file, reader):
                        return self._publish(file, path, reader, path.name)
        return None

    def _publish(self, file: File, path: Path, reader: str | None, name: str) -> Path:
        return atomic_write(self.path_of(file), _content(path, reader, name), size=file.size, sha256=file.sha256)

    @contextmanager
    def _lock(self, file: File, name: str) -> Iterator[None]:
        """Keep other processes from fetching the same file where locks work; continue without where they do not."""
        lock = FileLock(self._folder.subfolder("locks") / file.sha256)
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
            lock.acquire(timeout=self.retry.silence)
        except Timeout:
            LOG.warning("%s is being fetched by another process; waiting for it", name)
            lock.acquire(timeout=max(0, self.retry.lock - self.retry.silence))


def _content(path: Path, reader: str | None, name: str) -> Iterator[bytes]:
    """Read a file through its reader; one that the reader cannot read is not the expected file."""
    try:
        with readable(name):
            yield from read_chunks(path) if reader is None else resolve(reader)(path)
    except FileNotFoundError as error:
        raise ResourceError(
            f"{path} has disappeared", why="another process deleted it while it was being read"
        ) from error


def _may_contain(path: Path, file: File, reader: str | None) -> bool:
    """Return whether a local file's size allows it to have this content, before a reader unpacks it."""
    size = path.stat().st_size
    if reader is None:
        return size == file.size
    largest = max(file.size, *(source.size for source in file.sources if source.reader == reader))
    return size <= 1.1 * largest + 1024**2  # another program may have packed it less well


def _is_shipped(source: Source) -> bool:
    return source.uri.startswith("package:") and source.reader is None


def _target(name: str) -> str:
    """Return what `zoo pull` takes, of a label such as "fashion-mnist.full (train-images)"."""
    return quote(name.partition(" ")[0])


def _summary(name: str, failures: list[ZooError]) -> ZooError:
    """Return one error for all sources that failed, of the last one's kind."""
    why = "\n".join(f"  {failure.what}: {failure.why}" for failure in failures)
    fix = failures[-1].fix or f"zoo pull {_target(name)} --from FILE"
    return type(failures[-1])(f"{name} could not be downloaded", why=why, fix=fix)


def _keep_if_intact(path: Path, digest: str) -> bool:
    """Return whether cached features have the hash in their name; delete them if not, to be computed again."""
    if digest == path.stem.partition("-")[2]:
        return True
    with suppress(OSError):  # if it cannot be deleted, it does no harm
        failpoint("store.forget")
        path.unlink()
    return False
