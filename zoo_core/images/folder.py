"""Lists a folder of images: which files belong to which class and split. Opens no image; needs no torch.

Two layouts are supported:

- `train/` and `validation/` (or `val/`), optionally `test/`, each with one folder per class;
- class folders only. The audit then splits the images by the hash of their bytes; see `zoo_core.images.hash_split`.

Symbolic links are followed, and a folder that is reachable twice is listed once. Unreadable files and folders stay in
the list, so that reading the images reports them.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import Split
from zoo_core.errors import DataError, printable
from zoo_core.images.issues import DataIssue, counted

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # written by Windows next to images; ignored without a note
NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, bytes that are not UTF-8, line ends
SPLIT_FOLDERS: Mapping[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
LabelledFile = tuple[Path, int]


@dataclass(frozen=True)
class Folder:
    """The image files of a folder, with labels and in the order of their paths, and the issues found by listing it."""

    root: Path
    classes: tuple[str, ...]  # in plain string order
    splits: Mapping[Split, tuple[LabelledFile, ...]]
    issues: tuple[DataIssue, ...]
    split_by_hash: bool = False  # class folders only: all files are listed under "train" until the audit splits them

    @property
    def dataset(self) -> DatasetCard:
        """A card for the folder, so that a plan can hold it like any dataset."""
        counts = {split: len(files) for split, files in self.splits.items() if files}
        summary = f"{self.root}, split by content hash" if self.split_by_hash else str(self.root)
        edition = Edition(name="folder", summary=summary, files={}, examples=counts)
        return DatasetCard(
            name="folder",
            summary=f"the images in {self.root}",
            license="yours",
            attribution="",
            source=str(self.root),
            classes=self.classes,
            editions=(edition,),
        )

    def only(self, split: Split) -> Folder:
        """Return the folder without its other splits.

        Raises:
            DataError: the folder does not have this split.
        """
        if not self.splits.get(split):
            raise no_such_split(self.root, split, self.splits)
        return replace(self, splits={split: self.splits[split]})


def no_such_split(root: Path, split: Split, splits: Iterable[str]) -> DataError:
    """Return the error for a split that a folder does not have."""
    return DataError(f"{printable(str(root))} has no {split} images", why=f"its splits: {', '.join(splits)}")


def scan(root: Path) -> Folder:
    """List a folder's classes and images; no image is opened.

    Raises:
        DataError: the folder does not exist, cannot be listed, or has a path that is not valid text.
    """
    if not _is_text(str(root)):
        why = "it contains control characters, or bytes that are not UTF-8; rename the folder"
        raise DataError(f"{printable(str(root))} is not a path that a plan can store", why=why)
    try:
        if not root.is_dir():
            why = "expected a folder with train/ and validation/, or with one folder per class"
            raise DataError(f"{root} is not a folder", why=why)
        split_folders = {name: root / name for name in SPLIT_FOLDERS if (root / name).is_dir()}
        return _scan_splits(root, split_folders) if "train" in split_folders else _scan_classes(root, split_folders)
    except OSError as error:
        raise DataError(f"{root} cannot be listed", why=error.strerror or str(error)) from error


def images_below(folder: Path) -> list[Path]:
    """Return every image file below a folder, sorted; hidden files and folders are ignored.

    A folder that cannot be listed is itself in the list, so that reading it reports the error.
    """
    return _contents(folder).images


@dataclass(frozen=True)
class _Contents:
    """The files below a class folder."""

    images: list[Path]
    others: Counter[str]  # number of files without an image extension, by suffix


def _contents(folder: Path) -> _Contents:
    images, others = [], Counter[str]()
    for path in map(Path, _files_below(str(folder))):
        if path.suffix.lower() in SUFFIXES or path.is_dir():
            images.append(path)
        elif path.name.lower() not in SYSTEM_FILES:
            others[path.suffix.lower() or "no extension"] += 1
    return _Contents(sorted(images), others)


def _files_below(folder: str) -> Iterator[str]:
    """Yield every file below a folder, in no particular order, and every folder that cannot be listed."""
    waiting, seen = [folder], {_identity(parent) for parent in Path(folder).resolve().parents}
    while waiting:
        current = waiting.pop()
        try:
            if _identity(current) in seen:
                continue
            seen.add(_identity(current))
            with os.scandir(current) as entries:
                shown = [entry for entry in entries if not _is_hidden(entry.name)]
        except FileNotFoundError:
            continue
        except OSError:
            yield current
            continue
        waiting += [entry.path for entry in shown if _is_folder(entry)]
        yield from (entry.path for entry in shown if not _is_folder(entry))


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - a Path object per entry is slow for a million of them
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _scan_splits(root: Path, split_folders: Mapping[str, Path]) -> Folder:
    paths = {SPLIT_FOLDERS[name]: path for name, path in split_folders.items()}
    classes = tuple(sorted({folder.name for path in split_folders.values() for folder in _class_folders(path)}))
    below = {path / name: _contents(path / name) for path in paths.values() for name in classes}
    splits = {split: _labelled(path, classes, below) for split, path in paths.items()}
    issues = [*_hidden_folders(root, [root, *paths.values()]), *_stray_images(root, paths.values())]
    issues += _empty_classes(root, below)
    if extra := [folder for folder in _class_folders(root) if folder.name not in SPLIT_FOLDERS]:
        issues.append(DataIssue(False, f"ignored {counted(len(extra), 'folder')} next to train/", _names(root, extra)))
    if len(paths) < len(split_folders):
        issues.append(DataIssue(True, "found both val/ and validation/, expected one of them"))
    if "validation" not in splits:
        issues.append(DataIssue(True, "found train/, but neither validation/ nor val/"))
    return Folder(root, classes, splits, (*issues, *_class_issues(classes), *_other_files(below)))


def _scan_classes(root: Path, split_folders: Mapping[str, Path]) -> Folder:
    folders = _class_folders(root)
    classes = tuple(folder.name for folder in folders)
    below = {folder: _contents(folder) for folder in folders}
    issues = [*_hidden_folders(root, [root]), *_stray_images(root, [root]), *_empty_classes(root, below)]
    if {"val", "validation"} & set(split_folders):
        issues.append(DataIssue(True, "found a validation folder, but no train/"))
    issues += [*_class_issues(classes), *_other_files(below)]
    return Folder(root, classes, {"train": _labelled(root, classes, below)}, tuple(issues), split_by_hash=True)


def _class_folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not _is_hidden(folder.name))


def _labelled(path: Path, classes: Iterable[str], below: Mapping[Path, _Contents]) -> tuple[LabelledFile, ...]:
    return tuple((file, label) for label, name in enumerate(classes) for file in below[path / name].images)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _hidden_folders(root: Path, parents: Iterable[Path]) -> Iterable[DataIssue]:
    hidden = [path for parent in parents for path in parent.iterdir() if _is_hidden(path.name) and path.is_dir()]
    if hidden:
        yield DataIssue(False, f"ignored {counted(len(hidden), 'hidden folder')}", _names(root, hidden))


def _stray_images(root: Path, parents: Iterable[Path]) -> Iterable[DataIssue]:
    stray = [
        path
        for parent in parents
        for path in sorted(parent.iterdir())
        if path.suffix.lower() in SUFFIXES and not _is_hidden(path.name) and not path.is_dir()
    ]
    if stray:
        what = f"ignored {counted(len(stray), 'image')} outside the class folders"
        yield DataIssue(False, what, _names(root, stray))


def _empty_classes(root: Path, below: Mapping[Path, _Contents]) -> Iterable[DataIssue]:
    missing = [folder for folder in below if not folder.is_dir()]
    empty = [folder for folder, contents in below.items() if folder.is_dir() and not contents.images]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        yield DataIssue(True, f"{counted(len(missing), 'class folder')} {verb} missing", _names(root, missing))
    if empty:
        yield DataIssue(True, f"{counted(len(empty), 'class folder')} without images", _names(root, empty))


def _other_files(below: Mapping[Path, _Contents]) -> Iterable[DataIssue]:
    others = sum((contents.others for contents in below.values()), Counter[str]())
    if others:
        suffixes = ", ".join(suffix for suffix, _ in others.most_common(3)) + (", …" if len(others) > 3 else "")
        what = f"ignored {counted(others.total(), 'file')} without an image extension ({suffixes})"
        yield DataIssue(False, what, tuple(f"{suffix}: {count:,}" for suffix, count in others.most_common()))


def _class_issues(classes: tuple[str, ...]) -> Iterable[DataIssue]:
    if len(classes) < 2:
        names = f": {printable(classes[0])}" if classes else ""
        yield DataIssue(True, f"at least two classes are required, found {len(classes)}{names}")
    if not_text := tuple(name for name in classes if not _is_text(name)):
        what = f"{counted(len(not_text), 'class name')} with control characters or bytes that are not UTF-8"
        yield DataIssue(True, what, not_text)
    similar = defaultdict(list)
    for name in classes:
        similar[unicodedata.normalize("NFC", name).casefold()].append(name)
    if groups := tuple(" and ".join(map(ascii, names)) for names in similar.values() if len(names) > 1):
        yield DataIssue(False, "class names that are easily confused", groups)


def _is_text(name: str) -> bool:
    return not any(unicodedata.category(character) in NOT_TEXT for character in name)


def _names(root: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() for path in paths)
