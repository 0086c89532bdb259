"""A folder of one's own images: what lies where, and what is wrong with it. Decodes nothing; needs no torch.

Two layouts are known:

- `train/` and `validation/` (or `val/`), optionally `test/`, each with one folder for each class;
- class folders only: each image then goes to one side by the hash of its bytes, so that equal images stay together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_core.cards import DatasetCard, Edition, Split
from zoo_core.errors import DataError
from zoo_core.files import hash_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
VALIDATION_SHARE = 5  # of class folders only, one image in this many is for validation
NAMES: Mapping[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Finding:
    """Something about the data that its owner should know; a fatal one stops a run before its first epoch."""

    fatal: bool
    what: str
    paths: tuple[str, ...] = ()  # inside the folder


@dataclass(frozen=True)
class Folder:
    """Images by split, with labels, in the order of their paths; and what was found on the way."""

    root: Path
    classes: tuple[str, ...]  # in plain string order
    splits: Mapping[Split, tuple[tuple[Path, int], ...]]
    findings: tuple[Finding, ...]

    @property
    def dataset(self) -> DatasetCard:
        """A card for the folder, so that a plan can hold it like any dataset."""
        counts = {split: len(files) for split, files in self.splits.items() if files}
        edition = Edition(name="folder", summary=str(self.root), files={}, examples=counts)
        return DatasetCard(
            name="folder",
            summary=f"the images in {self.root}",
            license="yours",
            attribution="",
            source=str(self.root),
            classes=self.classes,
            editions=(edition,),
            loader="zoo_core.engine.folder:load",
        )


def scan(root: Path) -> Folder:
    """List a folder's classes and images.

    Raises:
        DataError: there is no such folder, or nothing in it can be a class.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder", fix="give a folder with train/ and validation/, or with class folders")
    named = {name: root / name for name in NAMES if (root / name).is_dir()}
    return _scan_splits(root, named) if "train" in named else _scan_classes(root)


def images_below(folder: Path) -> list[Path]:
    """Return every image file below a folder, sorted; hidden files and folders are passed over."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file() and not _hidden(path.relative_to(folder)))


def _scan_splits(root: Path, named: Mapping[str, Path]) -> Folder:
    classes = tuple(sorted({folder.name for path in named.values() for folder in _class_folders(path)}))
    sides = {NAMES[name]: path for name, path in named.items()}
    splits = {split: _labelled(path, classes) for split, path in sides.items()}
    findings = [*_hidden_folders(root, [root, *sides.values()])]
    findings += _empty(root, [path / name for path in sides.values() for name in classes])
    if len(sides) < len(named):
        findings.append(Finding(True, "there are both val/ and validation/"))
    if "validation" not in splits:
        findings.append(Finding(True, "there is train/, but neither validation/ nor val/"))
    return Folder(root, classes, splits, (*findings, *_too_few(classes)))


def _scan_classes(root: Path) -> Folder:
    folders = _class_folders(root)
    classes = tuple(folder.name for folder in folders)
    every = _labelled(root, classes)
    held_out = {path for path, _ in every if _is_held_out(path)}
    splits: dict[Split, tuple[tuple[Path, int], ...]] = {
        "train": tuple(one for one in every if one[0] not in held_out),
        "validation": tuple(one for one in every if one[0] in held_out),
    }
    findings = [*_hidden_folders(root, [root]), *_empty(root, folders), *_too_few(classes)]
    return Folder(root, classes, splits, (*findings, *_one_sided(classes, splits)))


def _class_folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not _hidden(Path(one.name)))


def _labelled(path: Path, classes: Iterable[str]) -> tuple[tuple[Path, int], ...]:
    return tuple((file, label) for label, name in enumerate(classes) for file in images_below(path / name))


def _is_held_out(path: Path) -> bool:
    return int(hash_of(path)[:8], 16) % VALIDATION_SHARE == 0


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.parts)


def _hidden_folders(root: Path, places: Iterable[Path]) -> Iterable[Finding]:
    hidden = [one for place in places for one in place.iterdir() if one.is_dir() and _hidden(Path(one.name))]
    if hidden:
        yield Finding(False, "hidden folders are no classes, and are passed over", _names(root, hidden))


def _empty(root: Path, folders: Iterable[Path]) -> Iterable[Finding]:
    missing = [folder for folder in folders if not folder.is_dir()]
    empty = [folder for folder in folders if folder.is_dir() and not images_below(folder)]
    if missing:
        yield Finding(True, "a class is missing on this side", _names(root, missing))
    if empty:
        yield Finding(True, "class folders without an image", _names(root, empty))


def _too_few(classes: tuple[str, ...]) -> Iterable[Finding]:
    if len(classes) < 2:
        yield Finding(True, f"there is nothing to tell apart: {len(classes)} class folder(s)", classes)


def _one_sided(classes: tuple[str, ...], splits: Mapping[Split, tuple[tuple[Path, int], ...]]) -> Iterable[Finding]:
    for split, files in splits.items():
        here = {label for _, label in files}
        missing = tuple(name for label, name in enumerate(classes) if label not in here)
        if missing:
            yield Finding(True, f"too few images: no {split} image after the split by hash", missing)


def _names(root: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() for path in paths)
