"""Opens a folder of one's own images, and looks at every one of them before the first epoch."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from zoo_core.cards import Split
from zoo_core.engine.images import MAX_BYTES, decode_image, read_bytes, read_image
from zoo_core.errors import DataError, printable
from zoo_core.files import hash_of
from zoo_core.folders import Finding, Folder
from zoo_core.results import Event, Progress

_Place = tuple[str, int, str]  # split, label, name
AT_A_TIME = 256  # images looked at between two reports of progress


@dataclass(frozen=True)
class FolderImages:
    """Image files with labels; each is read when it is asked for."""

    root: Path
    files: tuple[tuple[Path, int], ...]
    classes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image's bytes, path and label."""
        digest = hashlib.sha256()
        for index, (path, label) in enumerate(self.files):
            try:
                digest.update(f"{self.name(index)}\0{label}\0{hash_of(path)}".encode("utf-8", "surrogateescape"))
            except OSError as error:
                why = error.strerror or "the system says no"
                raise DataError(f"{printable(str(path))} cannot be read any more", why=why) from error
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.files[index]
        return read_image(path), label

    def label(self, index: int) -> int:
        """Return the place of the image's folder among the classes."""
        return self.files[index][1]

    def name(self, index: int) -> str:
        """Return the image's path inside the folder."""
        return self.files[index][0].relative_to(self.root).as_posix()


def images_of(folder: Folder, split: Split) -> FolderImages:
    """Open one split.

    Raises:
        DataError: the folder has no such split.
    """
    if not folder.splits.get(split):
        raise DataError(f"{folder.root} has no {split} images", why=f"its splits: {', '.join(folder.splits)}")
    return FolderImages(folder.root, folder.splits[split], folder.classes)


def audit(folder: Folder) -> Generator[Event, None, tuple[Finding, ...]]:
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


def stop_if_fatal(findings: tuple[Finding, ...], root: Path) -> None:
    """Raise DataError where a finding forbids a run; all of them are listed."""
    if any(finding.fatal for finding in findings):
        raise DataError(
            f"{root} cannot be used as it is",
            why="\n".join(describe(finding) for finding in findings),
            fix="mend the folder, and run the same command again",
        )


def describe(finding: Finding) -> str:
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


def _unreadable(bad: list[str]) -> list[Finding]:
    return [Finding(True, f"{len(bad)} image(s) cannot be used", tuple(bad))] if bad else []


def _duplicates(places: dict[str, list[_Place]]) -> list[Finding]:
    """List equal images that stand on two sides, or in two classes; twice in one class on one side does no harm."""
    same = sorted(sorted(found) for found in places.values() if len(found) > 1)
    sides = tuple(_equal(found) for found in same if len({split for split, _, _ in found}) > 1)
    classes = tuple(_equal(found) for found in same if len({label for _, label, _ in found}) > 1)
    told = [
        Finding(False, f"{len(sides)} image(s) stand on two sides: what is measured there is too good", sides),
        Finding(False, f"{len(classes)} image(s) stand in two classes: one of the labels is wrong", classes),
    ]
    return [finding for finding in told if finding.paths]


def _equal(found: list[_Place]) -> str:
    return " = ".join(sorted(name for _, _, name in found))
