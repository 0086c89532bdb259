"""Opens a folder of one's own images, and looks at every one of them before the first epoch."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zoo_core.cards import Split
from zoo_core.errors import DataError, printable
from zoo_core.events import Event, Progress
from zoo_core.images.decode import MAX_BYTES, decode_image, read_bytes
from zoo_core.images.folder import DataIssue, Folder
from zoo_core.images.image_sets import FolderImages

_Place = tuple[str, int, str]  # split, label, name
AT_A_TIME = 256  # images looked at between two reports of progress


def images_of(folder: Folder, split: Split) -> FolderImages:
    """Open one split.

    Raises:
        DataError: the folder has no such split.
    """
    if not folder.splits.get(split):
        raise DataError(f"{folder.root} has no {split} images", why=f"its splits: {', '.join(folder.splits)}")
    return FolderImages(folder.root, folder.splits[split], folder.classes)


def audit(folder: Folder) -> Generator[Event, None, tuple[DataIssue, ...]]:
    """Decode and hash every image, and return all there is to know of the data: what the scan found comes first."""
    files = [(split, label, path) for split, labelled in folder.splits.items() for path, label in labelled]
    bad: list[str] = []
    places: dict[str, list[_Place]] = defaultdict(list)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), AT_A_TIME):
            part = files[start : start + AT_A_TIME]
            looks = pool.map(lambda one: _look(one[2]), part)
            for (split, label, path), (reason, digest) in zip(part, looks, strict=True):
                name = path.relative_to(folder.root).as_posix()
                bad += [f"{name}: {reason}"] if reason else []
                places[digest].append((split, label, name))
            yield Progress("looking at every image", min(start + AT_A_TIME, len(files)), len(files), "images")
    return (*folder.findings, *_unreadable(bad), *_duplicates(places))


def stop_if_unreadable(images: FolderImages) -> None:
    """Raise DataError where an image cannot be used; all of them are listed."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = zip(range(len(images)), pool.map(lambda one: _look(one[0])[0], images.files), strict=True)
        stop_if_fatal(tuple(_unreadable([f"{images.name(n)}: {reason}" for n, reason in looks if reason])), images.root)


def stop_if_fatal(findings: tuple[DataIssue, ...], root: Path) -> None:
    """Raise DataError where a finding forbids a run; all of them are listed."""
    if any(finding.fatal for finding in findings):
        raise DataError(
            f"{root} cannot be used as it is",
            why="\n".join(describe(finding) for finding in findings),
            fix="mend the folder, and run the same command again",
        )


def describe(finding: DataIssue) -> str:
    """Return a finding in lines, every path on one of its own."""
    head = f"  {'error' if finding.fatal else 'note'}: {finding.what}"
    return "\n".join([head, *(f"    {printable(path)}" for path in finding.paths)])


def _look(path: Path) -> tuple[str, str]:
    """Return why an image cannot be used (nothing where it can), and the hash of its bytes; they are read once."""
    digest = f"unreadable {path}"
    try:
        content = read_bytes(path)
        digest = hashlib.sha256(content).hexdigest() if len(content) <= MAX_BYTES else digest
        decode_image(content, str(path))
    except DataError as error:
        return error.why or error.what, digest
    return "", digest


def _unreadable(bad: list[str]) -> list[DataIssue]:
    return [DataIssue(True, f"{len(bad)} image(s) cannot be used", tuple(bad))] if bad else []


def _duplicates(places: dict[str, list[_Place]]) -> list[DataIssue]:
    """List equal images that stand on two sides, or in two classes; twice in one class on one side does no harm."""
    same = sorted(sorted(found) for found in places.values() if len(found) > 1)
    sides = tuple(_equal(found) for found in same if len({split for split, _, _ in found}) > 1)
    classes = tuple(_equal(found) for found in same if len({label for _, label, _ in found}) > 1)
    told = [
        DataIssue(False, f"{len(sides)} image(s) stand on two sides: what is measured there is too good", sides),
        DataIssue(False, f"{len(classes)} image(s) stand in two classes: one of the labels is wrong", classes),
    ]
    return [finding for finding in told if finding.paths]


def _equal(found: list[_Place]) -> str:
    return " = ".join(sorted(name for _, _, name in found))
