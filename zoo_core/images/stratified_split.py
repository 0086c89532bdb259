"""Splits labeled files into train and validation with the same share of every class.

Images with the same key stay on one side. Classes are taken from the rarest to the most common. Of each, the units with
the smallest keys are held out, as long as the class's share of validation images gets closer to the fraction; so the
split depends on the images alone, and not on a seed. With several labels per image, the images of a rare label are thus
settled first, and a more common one is evened out with the images that are left. Images without labels are treated as
one more class.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.images.labels import classes_in
from zoo_core.images.listing import LabelledFile

NO_CLASS = -1  # of images without labels


def split_stratified(
    files: Sequence[LabelledFile], keys: Mapping[Path, str], fraction: float
) -> Mapping[Split, tuple[LabelledFile, ...]]:
    """Return the files by split, each in the given order; files without a key are training images.

    Args:
        files: paths with labels.
        keys: hexadecimal digits by path; images with the same key stay together.
        fraction: the share of each class to hold out, between 0 and 1; at least one of its images, and never all.

    If each image has one label and its own key, a class of n images has round(fraction · n) validation images, but at
    least 1 and at most n - 1. If its images have fewer than two different keys, a class is on one side.
    """
    units: dict[str, Counter[int]] = defaultdict(Counter)
    for path, label in files:
        if path in keys:
            units[keys[path]].update(classes_in(label) or (NO_CLASS,))
    held_out = _Choice(units).made(fraction)
    return {
        "train": tuple((path, label) for path, label in files if keys.get(path) not in held_out),
        "validation": tuple((path, label) for path, label in files if keys.get(path) in held_out),
    }


class _Choice:
    """Which units are held out, while it is being decided."""

    def __init__(self, units: Mapping[str, Counter[int]]) -> None:
        self.units = units  # number of images by class, by key
        self.by_class: dict[int, list[str]] = defaultdict(list)  # keys, in ascending order
        self.held_out: set[str] = set()
        self.held_of_class = Counter[int]()  # how many units are held out
        self.settled: set[str] = set()
        for key in sorted(units):
            for label in units[key]:
                self.by_class[label].append(key)

    def made(self, fraction: float) -> set[str]:
        """Decide on all units, and return the keys of those to hold out."""
        divisible = [label for label, keys in self.by_class.items() if len(keys) > 1]
        divisible.sort(key=lambda label: (len(self.by_class[label]), label))
        for label in divisible:
            self._hold_out(label, fraction)
        for label in divisible:
            if self._is_on_one_side(label, self.held_of_class[label]):
                self._move(min(self.by_class[label], key=self._cost_of_moving))
        return self.held_out

    def _hold_out(self, label: int, fraction: float) -> None:
        keys = self.by_class[label]
        total = sum(self.units[key][label] for key in keys)
        target = min(max(1, round(fraction * total)), total - 1)
        count = sum(self.units[key][label] for key in keys if key in self.held_out)
        for key in keys:
            more = count + self.units[key][label]
            if key not in self.settled and abs(more - target) < abs(count - target):
                self._move(key)
                count = more
        self.settled.update(keys)

    def _is_on_one_side(self, label: int, held_out: int) -> bool:
        return held_out in (0, len(self.by_class[label]))

    def _cost_of_moving(self, key: str) -> tuple[int, int, str]:
        """Count the classes that would be left on one side, then the images that would be moved."""
        step = -1 if key in self.held_out else 1
        left = sum(self._is_on_one_side(label, self.held_of_class[label] + step) for label in self.units[key])
        return left, self.units[key].total(), key

    def _move(self, key: str) -> None:
        step = -1 if key in self.held_out else 1
        self.held_out ^= {key}
        for label in self.units[key]:
            self.held_of_class[label] += step
