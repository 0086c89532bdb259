"""The checkpoints of one run: folders named by their place in the work, each there whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from zoo_core.cards import FrozenModel, Sha256
from zoo_core.disk.atomic import remove, remove_folder, write_folder
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import IntegrityError

MANIFEST = "manifest.json"
NAME = re.compile(r"\d{6,}-\d{9,}")  # finished epochs, and finished steps of the next one: names sort as places do
KEPT = 2  # the newest, and one to fall back on


class FileEntry(FrozenModel):
    """What a manifest says of one file."""

    size: int  # bytes
    sha256: Sha256


class Manifest(FrozenModel):
    """What a checkpoint holds."""

    files: Mapping[str, FileEntry]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint as it lies on the disk: read, and found to be what was written."""

    path: Path
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints. The order of names decides which is newest; no clock and no pointer does."""

    folder: Path

    def save(self, epoch: int, step: int, files: Mapping[str, bytes]) -> Path:
        """Write a checkpoint of `step` steps after `epoch` epochs; older ones go once it is read back and right.

        Raises:
            ResourceError: it could not be written; those before it are still there.
            IntegrityError: it was written, but is not what is read back.
        """
        path = self.folder / f"{epoch:06d}-{step:09d}"
        with suppress(IntegrityError):
            return self._read(path).path  # measuring takes long, and changes nothing: it is saved already
        listed = {name: FileEntry(size=len(c), sha256=sha256(c).hexdigest()) for name, c in files.items()}
        manifest = dump_document(Manifest(files=listed).model_dump(mode="json"))
        write_folder(path, {**files, MANIFEST: manifest})
        self._read(path)
        for old in [one for one in self.names() if one < path.name][: -(KEPT - 1)]:
            remove_folder(self.folder / old)
        return path

    def names(self) -> list[str]:
        """Return the names of all checkpoints, the newest last; also of damaged ones."""
        return sorted(path.name for path in self.folder.glob("*") if NAME.fullmatch(path.name))

    def newest(self) -> tuple[LoadedCheckpoint | None, tuple[IntegrityError, ...]]:
        """Return the newest checkpoint that is whole, if any, and what is wrong with those that are newer."""
        damaged: list[IntegrityError] = []
        for name in reversed(self.names()):
            try:
                return self._read(self.folder / name), tuple(damaged)
            except IntegrityError as error:
                damaged.append(error)
        return None, tuple(damaged)

    def forget_after(self, name: str) -> None:
        """Delete those that are newer than a name: they were found to be damaged."""
        for one in self.names():
            if one > name:
                remove_folder(self.folder / one)

    def clear(self) -> None:
        """Delete all, and what a killed process may have left."""
        remove_folder(self.folder)
        for left in self.folder.parent.glob(f".{self.folder.name}.*.part"):
            remove(left)

    def sweep(self) -> None:
        """Delete what a killed process left half written or half deleted; nobody else may be saving here."""
        for left in self.folder.glob(".*.part"):
            remove(left)

    def _read(self, path: Path) -> LoadedCheckpoint:
        try:
            manifest = Manifest.model_validate(load_document((path / MANIFEST).read_bytes())[1])
            return LoadedCheckpoint(path, dict(_verified(path, manifest)))
        except (OSError, ValueError, RecursionError) as error:
            raise IntegrityError(f"checkpoint {path} is damaged", why=str(error).partition("\n")[0]) from error


def _verified(path: Path, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    for name, listed in manifest.files.items():
        if Path(name).name != name:
            raise IntegrityError(f"checkpoint {path} is damaged", why=f"{name!r} is no file in it")
        content = (path / name).read_bytes()
        if sha256(content).hexdigest() != listed.sha256:
            raise IntegrityError(f"checkpoint {path} is damaged", why=f"{name} is not what was written")
        yield name, content
