"""Splits labeled files into train and validation with the same share of every class.

Images with the same key stay on one side. Classes are taken from the rarest to the most common. Of each, the units with
the smallest keys are held out, as long as the class's share of validation images gets closer to the fraction; so
the split depends on the images alone, and not on a seed. With several labels per image, the images of a rare label are
thus settled first, and a more common one is evened out with the images that are left. Images without labels are
treated as one more class.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass
class _Choice:
    """Which units are held out, while it is being decided."""

    units: Mapping[str, Counter[int]]  # number of images by class, by key
    held_out: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)

    def made(self, fraction: float) -> set[str]:
        """Decide on all units, and return the keys of those to hold out."""
        by_class: dict[int, list[str]] = defaultdict(list)
        for key in sorted(self.units):
            for label in self.units[key]:
                by_class[label].append(key)
        order = sorted(by_class, key=lambda label: (len(by_class[label]), label))
        for label in order:
            self._hold_out(label, by_class[label], fraction)
        for label in order:
            self._fill_empty_side(label, by_class)
        return self.held_out

    def _hold_out(self, label: int, keys: list[str], fraction: float) -> None:
        total = sum(self.units[key][label] for key in keys)
        target = min(max(1, round(fraction * total)), total - 1)
        count = sum(self.units[key][label] for key in keys if key in self.held_out)
        for key in keys:
            more = count + self.units[key][label]
            if key not in self.settled and abs(more - target) < abs(count - target):
                self.held_out.add(key)
                count = more
        self.settled.update(keys)

    def _fill_empty_side(self, label: int, by_class: Mapping[int, list[str]]) -> None:
        """Move one unit of a class that is on one side alone; prefer those that leave no other class so, then small."""
        keys = by_class[label]
        if len(keys) < 2 or 0 < len(self.held_out.intersection(keys)) < len(keys):
            return

        def cost(key: str) -> tuple[int, int, str]:
            after = self.held_out ^ {key}
            others = (after.intersection(by_class[other]) for other in self.units[key])
            emptied = sum(
                len(held) in (0, len(by_class[other])) for held, other in zip(others, self.units[key], strict=True)
            )
            return emptied, self.units[key].total(), key

        self.held_out ^= {min(keys, key=cost)}
