"""Splits images into train and validation, where no folder or column says which is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.images.hash_split import split_by_hash
from zoo_core.images.labels import classes_in
from zoo_core.images.listing import LabelledFile, ListedImages
from zoo_core.images.stratified_split import split_stratified
from zoo_core.recipes.settings import SplitSettings

Splits = Mapping[Split, tuple[LabelledFile, ...]]


def split_images(
    listed: ListedImages,
    settings: SplitSettings,
    keys: Mapping[Path, str],
    digests: Mapping[Path, str],
    recorded: Mapping[Split, int],
) -> Splits:
    """Return the images by split: as listed, or as the settings say.

    Args:
        listed: the images.
        settings: the fraction to hold out, or the folds that take its place.
        keys: hexadecimal digits by path, as `unit_keys` returns them; images with the same key stay on one side.
        digests: the SHA-256 of each file's bytes.
        recorded: the number of images in each split of an earlier run; empty: there was none. Runs of earlier versions
            could have copies in other formats on both sides, and keep their split.
    """
    if not listed.split_by_zoo or settings.folds is not None:  # with folds, all are training images
        return listed.splits
    files = listed.splits["train"]
    others: Splits = {name: each for name, each in listed.splits.items() if name != "train"}
    if settings.fraction is not None:
        return {**split_stratified(files, keys, settings.fraction), **others}
    splits = {**split_by_hash(files, keys), **others}
    if "validation" in recorded and recorded != counts_of(splits):
        by_bytes = {**split_by_hash(files, digests), **others}
        return by_bytes if recorded == counts_of(by_bytes) else splits
    return splits


def counts_of(splits: Splits) -> dict[Split, int]:
    """Return the number of images in each split that has any."""
    return {split: len(files) for split, files in splits.items() if files}


def class_counts_of(splits: Splits, classes: tuple[str, ...]) -> Mapping[Split, Mapping[str, int]]:
    """Return the number of images by split and class, in label order; an image counts for each of its labels."""
    counts = {split: Counter(one for _, label in files for one in classes_in(label)) for split, files in splits.items()}
    return {split: {name: count[label] for label, name in enumerate(classes)} for split, count in counts.items()}
