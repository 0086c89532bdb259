"""Checks every image of a folder before the first epoch: each file is read, hashed and decoded once."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from zoo_core.cards.fields import Split
from zoo_core.errors import DataError
from zoo_core.events import Event, Progress
from zoo_core.images.decode import decode_image, read_bytes
from zoo_core.images.folder import Folder, LabelledFile, no_such_split
from zoo_core.images.hash_split import split_by_hash
from zoo_core.images.image_sets import FolderImages
from zoo_core.images.issues import DataIssue, counted, stop_if_fatal

CHUNK = 256  # images checked between two progress events
STRIP = 2**20  # pixels hashed at a time


@dataclass(frozen=True)
class AuditedFolder:
    """A folder whose images were all checked: its splits, and the issues found by listing and by reading."""

    root: Path
    classes: tuple[str, ...]  # in plain string order
    splits: Mapping[Split, tuple[LabelledFile, ...]]
    digests: Mapping[Path, str]  # SHA-256 of each file's bytes; files that cannot be read have none
    unreadable: Mapping[Path, str]  # files that cannot be used, with the reason
    issues: tuple[DataIssue, ...]

    @property
    def class_counts(self) -> Mapping[Split, Mapping[str, int]]:
        """The number of images by split and class, in label order."""
        counts = {split: Counter(label for _, label in files) for split, files in self.splits.items()}
        return {
            split: {name: count[label] for label, name in enumerate(self.classes)} for split, count in counts.items()
        }

    def images(self, split: Split) -> FolderImages:
        """Open one split.

        Raises:
            DataError: the folder does not have this split.
        """
        files = self.splits.get(split, ())
        if not files:
            raise no_such_split(self.root, split, self.splits)
        digests = tuple(self.digests[path] for path, _ in files if path in self.digests)
        return FolderImages(self.root, files, self.classes, digests if len(digests) == len(files) else ())

    def stop_if_fatal(self) -> None:
        """Raise DataError if an issue is fatal; the message lists every issue."""
        stop_if_fatal(self.issues, self.root)

    def stop_if_unreadable(self, split: Split) -> None:
        """Raise DataError if an image of the split cannot be used; the message lists all of them."""
        bad = {path: self.unreadable[path] for path, _ in self.splits.get(split, ()) if path in self.unreadable}
        stop_if_fatal(_unreadable(self.root, bad), self.root)


def audit(folder: Folder) -> Generator[Event, None, AuditedFolder]:
    """Read, hash and decode every image once; split class folders by hash; collect all issues.

    Yields Progress, counted in images.
    """
    files = [labelled for split_files in folder.splits.values() for labelled in split_files]
    checks = yield from _check_all([path for path, _ in files])
    digests = {path: check.digest for path, check in checks.items() if check.digest}
    unreadable = {path: check.reason for path, check in checks.items() if check.reason}
    splits = split_by_hash(files, digests) if folder.split_by_hash else folder.splits
    issues = [*folder.issues, *_unreadable(folder.root, unreadable)]
    issues += _too_few(folder.classes, splits) if folder.split_by_hash else []
    issues += _duplicates(folder.root, splits, checks)
    return AuditedFolder(folder.root, folder.classes, splits, digests, unreadable, tuple(issues))


@dataclass(frozen=True)
class _Check:
    """The result of reading one file."""

    reason: str = ""  # why the image cannot be used; empty: it can
    digest: str = ""  # SHA-256 of the bytes, in hexadecimal digits; empty: they could not be read
    pixels: bytes = b""  # a hash of the decoded image; empty: it could not be decoded


def _check_all(paths: list[Path]) -> Generator[Event, None, dict[Path, _Check]]:
    checks: dict[Path, _Check] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            checks.update(zip(chunk, pool.map(_check, chunk), strict=True))
            yield Progress("checking images", start + len(chunk), len(paths), "images")
    return checks


def _check(path: Path) -> _Check:
    digest = ""
    try:
        content = read_bytes(path)
        digest = hashlib.sha256(content).hexdigest()
        return _Check("", digest, _hash_of_pixels(decode_image(content, str(path))))
    except DataError as error:
        return _Check(error.why or error.what, digest)


def _hash_of_pixels(image: Image.Image) -> bytes:
    """Hash the size and the RGB values: formats differ in whether they store gray as color."""
    pixels = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):  # in strips, because a copy of a large image is large
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels.update(strip.convert("RGB").tobytes())
    return pixels.digest()


def _unreadable(root: Path, reasons: Mapping[Path, str]) -> list[DataIssue]:
    lines = tuple(f"{path.relative_to(root).as_posix()}: {reason}" for path, reason in reasons.items())
    return [DataIssue(True, f"{counted(len(lines), 'image')} cannot be used", lines)] if lines else []


def _too_few(classes: tuple[str, ...], splits: Mapping[Split, tuple[LabelledFile, ...]]) -> Iterator[DataIssue]:
    """Report classes that the split by hash left without training or validation images."""
    present = [{label for _, label in files} for files in splits.values()]
    missing = tuple(name for label, name in enumerate(classes) if not all(label in labels for labels in present))
    if missing:
        what = "too few images to split: each class needs at least two different ones"
        yield DataIssue(True, what, missing)


def _duplicates(
    root: Path, splits: Mapping[Split, tuple[LabelledFile, ...]], checks: Mapping[Path, _Check]
) -> Iterator[DataIssue]:
    """Report images with the same pixels in several splits or classes; repeats within one class are harmless."""
    same_pixels: dict[bytes, list[tuple[Split, int, str]]] = defaultdict(list)
    for split, files in splits.items():
        for path, label in files:
            if pixels := checks[path].pixels:
                same_pixels[pixels].append((split, label, path.relative_to(root).as_posix()))
    groups = sorted(sorted(group) for group in same_pixels.values() if len(group) > 1)
    leaked = _joined(group for group in groups if len({split for split, _, _ in group}) > 1)
    mislabelled = _joined(group for group in groups if len({label for _, label, _ in group}) > 1)
    if leaked:
        what = f"{_appear(leaked)} in more than one split; measured accuracy will be inflated"
        yield DataIssue(False, what, leaked)
    if mislabelled:
        what = f"{_appear(mislabelled)} in more than one class; at least one label is wrong"
        yield DataIssue(False, what, mislabelled)


def _joined(groups: Iterable[list[tuple[Split, int, str]]]) -> tuple[str, ...]:
    return tuple(" = ".join(sorted(name for _, _, name in group)) for group in groups)


def _appear(images: tuple[str, ...]) -> str:
    return f"{counted(len(images), 'image')} {'appears' if len(images) == 1 else 'appear'}"
