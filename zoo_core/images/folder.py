"""Lists the images of a folder, with their classes and splits. Opens no image; needs no torch.

Two layouts are supported, next to CSV files (`zoo_core.images.csv_listing`):

- `train/` and `validation/` (or `val/`), optionally `test/`, each with one folder per class;
- class folders only. The audit then splits the images by the hash of their bytes; see `zoo_core.images.split`.

Symbolic links are followed, and a folder that is reachable twice is listed once. Unreadable files and folders stay in
the list, so that reading the images reports them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from zoo_core.errors import DataError
from zoo_core.images.csv_listing import SPLIT_NAMES, is_csv, read_csv
from zoo_core.images.issues import BY_FOLDS, DataIssue, counted
from zoo_core.images.listing import LabelledFile, ListedImages, class_issues, require_text

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # written by Windows next to images; ignored without a note


def scan(source: Path) -> ListedImages:
    """List the classes and images of a folder or a CSV file; no image is opened.

    Raises:
        DataError: there is no such folder or file, it cannot be read, or its path is not valid text.
    """
    require_text(source)
    try:
        if is_csv(source):
            return read_csv(source)
        if not source.is_dir():
            why = "expected a folder with train/ and validation/, or with class folders; or a file that ends in .csv"
            why = why if source.exists() else f"it does not exist; {why}"
            raise DataError(f"{source} is not a folder or a CSV file", why=why)
        split_folders = {name: source / name for name in SPLIT_NAMES if (source / name).is_dir()}
        return _scan_splits(source, split_folders) if "train" in split_folders else _scan_classes(source, split_folders)
    except OSError as error:
        raise DataError(f"{source} cannot be listed", why=error.strerror or str(error)) from error


def names_own_images(name: str | Path) -> bool:
    """Return whether a name is that of a folder or of a CSV file."""
    return isdir(name) or is_csv(Path(name))  # noqa: PTH112 - a Path of a name that is too long raises


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


def _scan_splits(root: Path, split_folders: Mapping[str, Path]) -> ListedImages:
    paths = {SPLIT_NAMES[name]: path for name, path in split_folders.items()}
    classes = tuple(sorted({folder.name for path in split_folders.values() for folder in _class_folders(path)}))
    below = {path / name: _contents(path / name) for path in paths.values() for name in classes}
    splits = {split: _labelled(path, classes, below) for split, path in paths.items()}
    issues = [*_hidden_folders(root, [root, *paths.values()]), *_stray_images(root, paths.values())]
    issues += _empty_classes(root, below)
    if extra := [folder for folder in _class_folders(root) if folder.name not in SPLIT_NAMES]:
        issues.append(DataIssue(False, f"ignored {counted(len(extra), 'folder')} next to train/", _names(root, extra)))
    if len(paths) < len(split_folders):
        issues.append(DataIssue(True, "found both val/ and validation/, expected one of them"))
    if "validation" not in splits:
        issues.append(DataIssue(True, "found train/, but neither validation/ nor val/", option=BY_FOLDS))
    return ListedImages(root, root, classes, splits, (*issues, *class_issues(classes), *_other_files(below)))


def _scan_classes(root: Path, split_folders: Mapping[str, Path]) -> ListedImages:
    folders = _class_folders(root)
    classes = tuple(folder.name for folder in folders)
    below = {folder: _contents(folder) for folder in folders}
    issues = [*_hidden_folders(root, [root]), *_stray_images(root, [root]), *_empty_classes(root, below)]
    if {"val", "validation"} & set(split_folders):
        issues.append(DataIssue(True, "found a validation folder, but no train/"))
    issues += [*class_issues(classes), *_other_files(below)]
    return ListedImages(
        root, root, classes, {"train": _labelled(root, classes, below)}, tuple(issues), split_by_zoo=True
    )


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


def _names(root: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() for path in paths)
