"""A folder of one's own images: what lies where, and what is wrong with it. Decodes nothing; needs no torch.

Two layouts are known:

- `train/` and `validation/` (or `val/`), optionally `test/`, each with one folder for each class;
- class folders only: each image then goes to one side by the hash of its bytes, so that equal images stay together.

Links are followed, and a folder that they lead to twice, or back to, is looked at once. What cannot be read stays in
the list, so that whoever reads the images finds out.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo_core.cards import DatasetCard, Edition, Split
from zoo_core.disk.atomic import hash_of
from zoo_core.errors import DataError, printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PASSED_OVER = ("thumbs.db", "desktop.ini")  # what Windows puts beside images
NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # kinds of characters that no class name may hold: control, not UTF-8, line ends
VALIDATION_SHARE = 5  # of class folders only, one image in this many is for validation
NAMES: Mapping[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class DataIssue:
    """Something about the data that its owner should know; a fatal one stops a run before its first epoch."""

    fatal: bool
    what: str
    paths: tuple[str, ...] = ()  # inside the folder, or what else there is to list


@dataclass(frozen=True)
class Folder:
    """Images by split, with labels, in the order of their paths; and what was found on the way."""

    root: Path
    classes: tuple[str, ...]  # in plain string order
    splits: Mapping[Split, tuple[tuple[Path, int], ...]]
    findings: tuple[DataIssue, ...]

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
            loader="zoo_core.images.audit:load",
        )


def scan(root: Path) -> Folder:
    """List a folder's classes and images.

    Raises:
        DataError: there is no such folder, it cannot be listed, or its path is no text.
    """
    if not _is_text(str(root)):
        raise DataError(f"{printable(str(root))} is no path that a plan can hold", fix="rename the folder")
    try:
        if not root.is_dir():
            raise DataError(
                f"{root} is no folder", fix="give a folder with train/ and validation/, or with class folders"
            )
        named = {name: root / name for name in NAMES if (root / name).is_dir()}
        return _scan_splits(root, named) if "train" in named else _scan_classes(root, named)
    except OSError as error:
        raise DataError(f"{root} cannot be listed", why=error.strerror or "the system says no") from error


def images_below(folder: Path) -> list[Path]:
    """Return every image file below a folder, sorted; hidden files and folders are passed over.

    A folder that cannot be listed stands in the list itself: it cannot be read either.
    """
    return _contents(folder).images


@dataclass(frozen=True)
class _Contents:
    """What lies below a class folder."""

    images: list[Path]
    others: Counter[str]  # files that are no images, by suffix


def _contents(folder: Path) -> _Contents:
    images, others = [], Counter[str]()
    for path in map(Path, _files_below(str(folder))):
        if path.suffix.lower() in SUFFIXES or path.is_dir():
            images.append(path)
        elif path.name.lower() not in PASSED_OVER:
            others[path.suffix.lower() or "no suffix"] += 1
    return _Contents(sorted(images), others)


def _files_below(folder: str) -> Iterator[str]:
    """Yield all that is no folder, in no order; a folder that cannot be listed is yielded too."""
    waiting, seen = [folder], {_identity(parent) for parent in Path(folder).resolve().parents}
    while waiting:
        here = waiting.pop()
        try:
            if _identity(here) in seen:
                continue
            seen.add(_identity(here))
            with os.scandir(here) as entries:
                shown = [entry for entry in entries if not _hidden(entry.name)]
        except FileNotFoundError:
            continue
        except OSError:
            yield here
            continue
        waiting += [entry.path for entry in shown if _leads_on(entry)]
        yield from (entry.path for entry in shown if not _leads_on(entry))


def _identity(folder: str | Path) -> tuple[int, int]:
    told = os.stat(folder)  # noqa: PTH116 - a million names are no million Paths
    return told.st_dev, told.st_ino


def _leads_on(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _scan_splits(root: Path, named: Mapping[str, Path]) -> Folder:
    classes = tuple(sorted({folder.name for path in named.values() for folder in _class_folders(path)}))
    sides = {NAMES[name]: path for name, path in named.items()}
    below = {path / name: _contents(path / name) for path in sides.values() for name in classes}
    splits = {split: _labelled(path, classes, below) for split, path in sides.items()}
    findings = [*_hidden_folders(root, [root, *sides.values()]), *_beside(root, sides.values()), *_empty(root, below)]
    if extra := [folder for folder in _class_folders(root) if folder.name not in NAMES]:
        findings.append(DataIssue(False, "folders beside train/ are passed over", _names(root, extra)))
    if len(sides) < len(named):
        findings.append(DataIssue(True, "there are both val/ and validation/"))
    if "validation" not in splits:
        findings.append(DataIssue(True, "there is train/, but neither validation/ nor val/"))
    return Folder(root, classes, splits, (*findings, *_class_findings(classes), *_others(below)))


def _scan_classes(root: Path, named: Mapping[str, Path]) -> Folder:
    folders = _class_folders(root)
    classes = tuple(folder.name for folder in folders)
    below = {folder: _contents(folder) for folder in folders}
    every = _labelled(root, classes, below)
    held_out = {path for path, _ in every if _is_held_out(path)}
    splits: dict[Split, tuple[tuple[Path, int], ...]] = {
        "train": tuple(one for one in every if one[0] not in held_out),
        "validation": tuple(one for one in every if one[0] in held_out),
    }
    findings = [*_hidden_folders(root, [root]), *_beside(root, [root]), *_empty(root, below)]
    if {"val", "validation"} & set(named):
        findings.append(DataIssue(True, "there is a folder for validation, but no train/"))
    findings += [*_class_findings(classes), *_one_sided(classes, splits), *_others(below)]
    return Folder(root, classes, splits, tuple(findings))


def _class_folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not _hidden(one.name))


def _labelled(path: Path, classes: Iterable[str], below: Mapping[Path, _Contents]) -> tuple[tuple[Path, int], ...]:
    return tuple((file, label) for label, name in enumerate(classes) for file in below[path / name].images)


def _is_held_out(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode) and int(hash_of(path)[:8], 16) % VALIDATION_SHARE == 0
    except OSError:  # whoever reads the images will name it
        return False


def _hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _hidden_folders(root: Path, places: Iterable[Path]) -> Iterable[DataIssue]:
    hidden = [one for place in places for one in place.iterdir() if _hidden(one.name) and one.is_dir()]
    if hidden:
        yield DataIssue(False, "hidden folders are no classes, and are passed over", _names(root, hidden))


def _beside(root: Path, places: Iterable[Path]) -> Iterable[DataIssue]:
    stray = [
        one
        for place in places
        for one in sorted(place.iterdir())
        if one.suffix.lower() in SUFFIXES and not _hidden(one.name) and not one.is_dir()
    ]
    if stray:
        yield DataIssue(
            False, "images beside the class folders have no class, and are passed over", _names(root, stray)
        )


def _empty(root: Path, below: Mapping[Path, _Contents]) -> Iterable[DataIssue]:
    missing = [folder for folder in below if not folder.is_dir()]
    empty = [folder for folder, contents in below.items() if folder.is_dir() and not contents.images]
    if missing:
        yield DataIssue(True, "a class is missing on this side", _names(root, missing))
    if empty:
        yield DataIssue(True, "class folders without an image", _names(root, empty))


def _others(below: Mapping[Path, _Contents]) -> Iterable[DataIssue]:
    found = sum((contents.others for contents in below.values()), Counter[str]())
    if found:
        told = tuple(f"{suffix}: {count:,}" for suffix, count in found.most_common())
        yield DataIssue(False, "files that are named like no image are passed over", told)


def _class_findings(classes: tuple[str, ...]) -> Iterable[DataIssue]:
    if len(classes) < 2:
        yield DataIssue(True, f"there is nothing to tell apart: {len(classes)} class folder(s)", classes)
    if no_text := tuple(name for name in classes if not _is_text(name)):
        yield DataIssue(True, "class folders whose names are no text", no_text)
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFC", name).casefold()].append(name)
    if twins := tuple(" and ".join(map(ascii, names)) for names in alike.values() if len(names) > 1):
        yield DataIssue(False, "classes whose names can hardly be told apart", twins)


def _is_text(name: str) -> bool:
    return not any(unicodedata.category(sign) in NO_TEXT for sign in name)


def _one_sided(classes: tuple[str, ...], splits: Mapping[Split, tuple[tuple[Path, int], ...]]) -> Iterable[DataIssue]:
    for split, files in splits.items():
        here = {label for _, label in files}
        missing = tuple(name for label, name in enumerate(classes) if label not in here)
        if missing:
            yield DataIssue(True, f"too few images: no {split} image after the split by hash", missing)


def _names(root: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() for path in paths)
