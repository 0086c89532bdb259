"""Deals images into the folds of a cross-validation: each has the same share of every class, and groups stay whole."""

from __future__ import annotations

from collections import Counter, defaultdict

import torch
from torch import Tensor

from zoo_core.errors import DataError

FEWER = "zoo run transfer --data FOLDER --set split.folds=2"


def assign_folds(
    targets: Tensor, folds: int, seed: int, groups: Tensor | None = None, *, all_classes: bool = True
) -> Tensor:
    """Return the fold of each image (N,), from 0; -1: it is never held out.

    Class by class, groups are dealt out in random order, large ones first. Each goes to the fold with the fewest images
    of the class, and of these to the fold with the fewest images. So a class of two or more groups is never missing
    where it is held out; one that would be is trained on by every fold.

    Args:
        targets: labels (N,) int64; or (N, K) of several labels per image, which are dealt out like a single class.
        folds: how many.
        seed: decides the order.
        groups: the number of each image's group (N,) int64, as `groups_of` returns it; None: each image is on its own.
        all_classes: deal into fewer folds if no class has as many groups, so that each may contain all classes.

    Raises:
        DataError: no class has two images, or two groups; or there are fewer images or groups than folds.
    """
    labels = targets.tolist() if targets.ndim == 1 else [0] * len(targets)
    numbers = range(len(targets)) if groups is None else groups.tolist()
    contents: dict[int, Counter[int]] = defaultdict(Counter)
    for number, label in zip(numbers, labels, strict=True):
        contents[number][label] += 1
    if not all_classes and len(contents) < folds:
        what = "images" if groups is None else "groups of images"
        raise DataError(f"{len(contents):,} {what} cannot be divided into {folds} folds", fix=FEWER)
    dealing = _Dealing(contents)
    folds = min(folds, dealing.most_groups) if all_classes else folds
    fold_of = dealing.into(folds, torch.Generator().manual_seed(seed))
    used = {fold: number for number, fold in enumerate(sorted({*fold_of.values()} - {-1}))}  # no fold is empty
    if not used:
        why = f"every class has a single training image{'' if groups is None else ', or group of images'}"
        raise DataError("cross-validation needs two images of a class", why=why)
    return torch.tensor([used.get(fold_of[number], -1) for number in numbers])


class _Dealing:
    """Which groups are in which fold, while it is being decided."""

    def __init__(self, contents: dict[int, Counter[int]]) -> None:
        self.contents = contents  # number of images by class, by group
        self.by_class: dict[int, list[int]] = defaultdict(list)  # the groups with images of a class
        self.fold_of = dict.fromkeys(contents, -1)
        for group, classes in contents.items():
            for label in classes:
                self.by_class[label].append(group)

    @property
    def most_groups(self) -> int:
        """The number of groups of the class that has the most."""
        return max(map(len, self.by_class.values()))

    def into(self, folds: int, generator: torch.Generator) -> dict[int, int]:
        """Deal out all groups, and return the fold of each; -1: it is never held out."""
        mixed = any(len(classes) > 1 for classes in self.contents.values())
        divisible = [label for label, groups in self.by_class.items() if len(groups) > 1]
        divisible.sort(key=lambda label: (len(self.by_class[label]) if mixed else 0, label))  # the rarest first
        held, totals = [Counter[int]() for _ in range(folds)], [0] * folds  # images by class, and all, by fold
        for label in divisible:
            waiting = [group for group in self.by_class[label] if self.fold_of[group] < 0]
            shuffled = [waiting[index] for index in torch.randperm(len(waiting), generator=generator).tolist()]
            for group in sorted(shuffled, key=lambda group: -self.contents[group][label]):
                self._put(group, label, held, totals)
        for groups in self.by_class.values():
            if len({self.fold_of[group] for group in groups}) == 1:
                self.fold_of |= dict.fromkeys(groups, -1)
        return self.fold_of

    def _put(self, group: int, label: int, held: list[Counter[int]], totals: list[int]) -> None:
        """Put a group into the fold with the fewest images of a class."""
        classes = self.contents[group]

        def images(fold: int) -> tuple[int, int, int]:
            return held[fold][label], sum([held[fold][one] for one in classes]), totals[fold]

        fold = self.fold_of[group] = min(range(len(held)), key=images)
        held[fold].update(classes)
        totals[fold] += classes.total()
