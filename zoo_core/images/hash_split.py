"""Splits labeled files into train and validation by the hash of their bytes.

An image's split depends on its bytes alone: not on its name, the other images or a seed. Adding images never moves
one that was there, and identical files share a split. The exception is a class so small that all of its images hash to
one split: the image with the smallest hash then moves to the other, so that chance does not make a folder unusable.

Images that must stay together (`zoo_core.images.units`) are split like one image.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.images.labels import classes_in
from zoo_core.images.listing import LabelledFile

VALIDATION_SHARE = 5  # one image in this many is held out for validation


def split_by_hash(
    files: Sequence[LabelledFile], digests: Mapping[Path, str]
) -> Mapping[Split, tuple[LabelledFile, ...]]:
    """Return the files by split, each in the given order; files without a digest are training images.

    Args:
        files: paths with labels.
        digests: the SHA-256 of each file's bytes, or of what stands for it, in hexadecimal digits, by path; images with
            the same digest stay together.

    A class is missing from a split only if it has fewer than two different images.
    """
    by_class: dict[int, set[str]] = defaultdict(set)
    for path, label in files:
        for one in classes_in(label):
            by_class[one] |= {digests[path]} if path in digests else set()
    held_out = {digest for digest in digests.values() if int(digest[:8], 16) % VALIDATION_SHARE == 0}
    _fill_empty_sides(by_class, held_out)
    validation = {path for path, digest in digests.items() if digest in held_out}
    return {
        "train": tuple((path, label) for path, label in files if path not in validation),
        "validation": tuple((path, label) for path, label in files if path in validation),
    }


def _fill_empty_sides(by_class: Mapping[int, set[str]], held_out: set[str]) -> None:
    """Move one image of every class that is on one side alone; prefer images that no other class shares."""
    classes_with = Counter(digest for class_digests in by_class.values() for digest in class_digests)
    for _, class_digests in sorted(by_class.items()):
        if len(class_digests) < 2 or (class_digests & held_out and class_digests - held_out):
            continue
        held_out ^= {min(class_digests, key=lambda digest: (classes_with[digest], digest))}
