"""The checkpoints of one run: folders named by epoch and step, each written completely or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from zoo_core.cards.fields import FrozenModel, Sha256
from zoo_core.disk.atomic import remove, remove_folder, write_folder
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import IntegrityError

MANIFEST = "manifest.json"
NAME = re.compile(r"\d{6,}-\d{9,}")  # finished epochs, steps of the next: the newest sorts last
MOST = 2  # checkpoints per run: the newest, and one to fall back on


class FileEntry(FrozenModel):
    """The size and hash of one file."""

    size: int  # bytes
    sha256: Sha256


class Manifest(FrozenModel):
    """The files of a checkpoint."""

    files: Mapping[str, FileEntry]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint that was read and verified."""

    path: Path
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints. The newest is the last by name, whatever the clock says."""

    folder: Path
    most: int | None = MOST  # how many are kept; None: all, until `retain` deletes some

    def save(self, epoch: int, step: int, files: Mapping[str, bytes]) -> Path:
        """Write a checkpoint of `step` steps after `epoch` epochs, verify it, and then delete older ones.

        Raises:
            ResourceError: it could not be written; older checkpoints are untouched.
            IntegrityError: what was read back differs from what was written.
        """
        path = self.folder / f"{epoch:06d}-{step:09d}"
        with suppress(IntegrityError):
            return self.read(path.name).path  # evaluation takes long and changes nothing: this state is saved already
        entries = {name: FileEntry(size=len(c), sha256=sha256(c).hexdigest()) for name, c in files.items()}
        manifest = dump_document(Manifest(files=entries).model_dump(mode="json"))
        write_folder(path, {**files, MANIFEST: manifest})
        self.read(path.name)
        older = [name for name in self.names() if name < path.name]
        for old in older[: 1 - self.most] if self.most else ():
            remove_folder(self.folder / old)
        return path

    def names(self) -> list[str]:
        """Return the names of all checkpoints, including damaged ones, with the newest last."""
        return sorted(path.name for path in self.folder.glob("*") if NAME.fullmatch(path.name))

    def newest(
        self, check: Callable[[LoadedCheckpoint], None] = lambda checkpoint: None
    ) -> tuple[LoadedCheckpoint | None, tuple[IntegrityError, ...]]:
        """Return the newest intact checkpoint, if any, and the errors of newer ones, which are damaged.

        `check` may refuse an intact one with an IntegrityError.
        """
        damaged: list[IntegrityError] = []
        for name in reversed(self.names()):
            try:
                checkpoint = self.read(name)
                check(checkpoint)
            except IntegrityError as error:
                damaged.append(error)
            else:
                return checkpoint, tuple(damaged)
        return None, tuple(damaged)

    def retain(self, names: Collection[str]) -> None:
        """Delete all checkpoints but these."""
        for name in self.names():
            if name not in names:
                remove_folder(self.folder / name)

    def forget_after(self, name: str) -> None:
        """Delete the checkpoints after `name`, which are damaged."""
        for later in self.names():
            if later > name:
                remove_folder(self.folder / later)

    def clear(self) -> None:
        """Delete all checkpoints, and what a killed process may have left behind."""
        remove_folder(self.folder)
        for leftover in self.folder.parent.glob(f".{self.folder.name}.*.part"):
            remove(leftover)

    def sweep(self) -> None:
        """Delete what a killed process left half written or half deleted. Requires the run's lock."""
        for leftover in self.folder.glob(".*.part"):
            remove(leftover)

    def read(self, name: str) -> LoadedCheckpoint:
        """Return one checkpoint, verified. Raises IntegrityError if it is damaged or missing."""
        path = self.folder / name
        try:
            manifest = Manifest.model_validate(load_document((path / MANIFEST).read_bytes())[1])
            return LoadedCheckpoint(path, dict(_verified(path, manifest)))
        except (OSError, ValueError, RecursionError) as error:
            raise IntegrityError(f"checkpoint {path} is damaged", why=str(error).partition("\n")[0]) from error


def _verified(path: Path, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    for name, entry in manifest.files.items():
        if Path(name).name != name:
            raise IntegrityError(f"checkpoint {path} is damaged", why=f"{name!r} is not the name of a file in it")
        content = (path / name).read_bytes()
        if sha256(content).hexdigest() != entry.sha256:
            raise IntegrityError(f"checkpoint {path} is damaged", why=f"checksum mismatch for {name}")
        yield name, content
