"""Checks every listed image before the first epoch: each file is read, hashed and decoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from zoo_core.cards.fields import Split
from zoo_core.cards.models import ImageInput
from zoo_core.errors import DataError
from zoo_core.events import Event, Progress
from zoo_core.images import findings
from zoo_core.images.decode import decode_image, read_bytes
from zoo_core.images.image_sets import FolderImages
from zoo_core.images.issues import BY_FOLDS, DataIssue, stop_if_fatal
from zoo_core.images.listing import LabelledFile, ListedImages, no_such_split
from zoo_core.images.split import Splits, class_counts_of, counts_of, split_images
from zoo_core.images.units import groups_of, unit_keys
from zoo_core.recipes.settings import SplitSettings

CHUNK = 256  # images checked between two progress events
STRIP = 2**20  # pixels hashed at a time
AS_NOW = SplitSettings()


@dataclass(frozen=True)
class AuditedImages:
    """Images that were all checked: their splits, and the issues found by listing and by reading them."""

    listed: ListedImages
    splits: Splits
    digests: Mapping[Path, str]  # SHA-256 of each file's bytes; files that cannot be read have none
    unreadable: Mapping[Path, str]  # files that cannot be used, with the reason
    issues: tuple[DataIssue, ...]
    units: Mapping[Path, str] = field(
        default_factory=dict
    )  # of training images: those with the same text stay together

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in plain string order."""
        return self.listed.classes

    @property
    def counts(self) -> dict[Split, int]:
        """The number of images in each split that has any."""
        return counts_of(self.splits)

    @property
    def class_counts(self) -> Mapping[Split, Mapping[str, int]]:
        """The number of images by split and class, in label order; an image counts for each of its labels."""
        return class_counts_of(self.splits, self.classes)

    def images(self, split: Split) -> FolderImages:
        """Open one split.

        Raises:
            DataError: there is no such split.
        """
        files = self.splits.get(split, ())
        if not files:
            raise no_such_split(self.listed.source, split, self.splits)
        return self._opened(files)

    @property
    def all_images(self) -> FolderImages:
        """The images of all splits, in the order in which they are listed."""
        return self._opened(tuple(file for files in self.listed.splits.values() for file in files))

    def _opened(self, files: tuple[LabelledFile, ...]) -> FolderImages:
        digests = tuple(self.digests[path] for path, _ in files if path in self.digests)
        groups = tuple(self.units.get(path, str(path)) for path, _ in files)
        return FolderImages(
            self.listed.root,
            files,
            self.classes,
            digests if len(digests) == len(files) else (),
            groups if len(set(groups)) < len(groups) else (),
        )

    def stop_if_fatal(self, command: str = "") -> None:
        """Raise DataError if an issue is fatal; the message lists every issue.

        `command` is what was typed: the error says which option to add to it, if one makes the images usable.
        """
        stop_if_fatal(self.issues, self.listed.source, command)

    def stop_if_unreadable(self, *splits: Split) -> None:
        """Raise DataError if an image of these splits cannot be used; the message lists all of them."""
        paths = [path for split in splits for path, _ in self.splits.get(split, ())]
        bad = {path: self.unreadable[path] for path in paths if path in self.unreadable}
        stop_if_fatal(findings.unreadable_images(self.listed.root, bad), self.listed.source)


def audit(
    listed: ListedImages,
    settings: SplitSettings = AS_NOW,
    *,
    shown_as: ImageInput | None = None,
    recorded: Mapping[Split, int] | None = None,
) -> Generator[Event, None, AuditedImages]:
    """Read, hash and decode every image once; split them if nobody has; collect all issues.

    Args:
        listed: what `scan` found.
        settings: how to split, and whether the same image may be in several splits.
        shown_as: how the model will see the images; None: nothing is said about their shape.
        recorded: the number of images in each split of an earlier run on them.

    Yields Progress, counted in images.
    """
    checks = yield from _check_all([path for files in listed.splits.values() for path, _ in files])
    digests = {path: check.digest for path, check in checks.items() if check.digest}
    pixels = {path: check.pixels for path, check in checks.items() if check.pixels}
    unreadable = {path: check.reason for path, check in checks.items() if check.reason}
    groups = groups_of(listed, settings.group)
    units = unit_keys(listed.splits.get("train", ()), digests, pixels, groups)
    splits = split_images(listed, settings, units, digests, recorded or {})
    by_folds = settings.folds is not None
    issues = [issue for issue in listed.issues if not (by_folds and issue.option == BY_FOLDS)]
    issues += findings.unreadable_images(listed.root, unreadable)
    if listed.split_by_zoo or by_folds:
        issues += findings.too_few(listed, splits, groups, units if by_folds else None)
    else:
        issues += findings.already_split(settings)
    earlier = listed.split_by_zoo and "validation" in (recorded or {})  # of a version that divided some copies
    issues += findings.duplicates(listed.root, splits, pixels, allow_leakage=settings.allow_leakage or earlier)
    issues += [*findings.divided_groups(splits, groups), *findings.imbalance(listed.classes, splits)]
    if shown_as is not None:
        issues += findings.not_square(shown_as, [checks[path].size for path in pixels])
    return AuditedImages(listed, splits, digests, unreadable, tuple(issues), units)


@dataclass(frozen=True)
class _Check:
    """The result of reading one file."""

    reason: str = ""  # why the image cannot be used; empty: it can
    digest: str = ""  # SHA-256 of the bytes, in hexadecimal digits; empty: they could not be read
    pixels: bytes = b""  # a hash of the decoded image; empty: it could not be decoded
    size: tuple[int, int] = (0, 0)  # width and height; zero: it could not be decoded


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
        image = decode_image(content, str(path))
        return _Check("", digest, _hash_of_pixels(image), image.size)
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
