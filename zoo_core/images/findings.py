"""What an audit reports about images that it has read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.cards.models import ImageInput
from zoo_core.images.issues import BY_FOLDS, DataIssue, counted
from zoo_core.images.labels import Label, classes_in
from zoo_core.images.listing import ListedImages
from zoo_core.images.names import name_below
from zoo_core.images.split import Splits, class_counts_of
from zoo_core.metrics import wilson
from zoo_core.recipes.settings import SplitSettings

IMBALANCE = 3.0  # largest class / smallest class, in training images, above which the audit says so
CUT = 0.2  # share of an image's area that a crop to a square may remove before the audit says so
DISTORTION = 1.5  # long side / short side of an image, above which making it square by squashing is reported
COMMON = 0.05  # share of the images from which on cropping or squashing them is reported
FEW = 30  # validation images: the 95 % interval of an accuracy of 90 % on fewer is more than 20 points wide
ALLOW_LEAKAGE = "--allow-leakage"


def unreadable_images(root: Path, reasons: Mapping[Path, str]) -> Iterator[DataIssue]:
    """Report images that cannot be used."""
    lines = tuple(f"{name_below(root, path)}: {reason}" for path, reason in reasons.items())
    if lines:
        yield DataIssue(True, f"{counted(len(lines), 'image')} cannot be used", lines)


def too_few(
    listed: ListedImages, splits: Splits, groups: Mapping[Path, str], units: Mapping[Path, str] | None = None
) -> Iterator[DataIssue]:
    """Report classes that cannot be divided.

    Args:
        listed: the images.
        splits: as zoo split them: a class without training or validation images is reported.
        groups: the group of each image that has one.
        units: if the images are to be divided into folds, a key for each, which images that stay together share; a
            class with a single key is reported.
    """
    labels = _on_one_side(listed, splits) if units is None else _in_one_unit(listed, units)
    grouped = [label for label in labels if _is_one_group(label, listed, groups)]
    fatal = listed.task == "single-label"
    if names := tuple(listed.classes[label] for label in labels if label not in grouped):
        least = "each class needs at least two different ones"
        what = f"too few images to split: {least}" if fatal else "classes without training or validation images"
        what = what if units is None or fatal else "classes whose images cannot be divided"
        yield DataIssue(fatal, what, names)
    if names := tuple(listed.classes[label] for label in grouped):
        stays = "stays on one side of the split" if units is None else "is in one fold"
        yield DataIssue(fatal, f"{counted(len(names), 'class')} with all images in one group, which {stays}", names)


def _on_one_side(listed: ListedImages, splits: Splits) -> list[int]:
    sides = [{one for _, label in splits[side] for one in classes_in(label)} for side in ("train", "validation")]
    return [label for label in range(len(listed.classes)) if not all(label in side for side in sides)]


def _in_one_unit(listed: ListedImages, units: Mapping[Path, str]) -> list[int]:
    found: dict[int, set[str]] = {label: set() for label in range(len(listed.classes))}
    for path, label in listed.splits.get("train", ()):
        for one in classes_in(label):
            found[one].add(units.get(path, str(path)))
    return [label for label, its in found.items() if len(its) < 2]


def few_to_validate(listed: ListedImages, splits: Splits) -> Iterator[DataIssue]:
    """Report that few images were held out of those that zoo split, and what would use all of them."""
    held_out, total = len(splits.get("validation", ())), sum(map(len, splits.values()))
    if listed.split_by_zoo and "test" not in splits and 0 < held_out < FEW:
        right = round(0.9 * held_out)
        low, high = wilson(right, held_out)
        yield DataIssue(
            False,
            f"accuracy on {counted(held_out, 'validation image')} is uncertain: {right} right could be a true accuracy "
            f"of {low:.0%} to {high:.0%}; add {BY_FOLDS} to validate on all {total:,} by cross-validation",
        )


def already_split(settings: SplitSettings) -> Iterator[DataIssue]:
    """Report a fraction that is not used."""
    if settings.fraction is not None:
        yield DataIssue(False, f"the images are split already, so the fraction {settings.fraction:g} is not used")


def _is_one_group(label: int, listed: ListedImages, groups: Mapping[Path, str]) -> bool:
    mine = [path for files in listed.splits.values() for path, its in files if label in classes_in(its)]
    return len(mine) > 1 and mine[0] in groups and len({groups.get(path) for path in mine}) == 1


def duplicates(root: Path, splits: Splits, pixels: Mapping[Path, bytes], *, allow_leakage: bool) -> Iterator[DataIssue]:
    """Report images with the same pixels in several splits or with other labels; other repeats are harmless.

    An image that is both for training and for measuring is an error unless it is allowed.
    """
    same_pixels: dict[bytes, list[tuple[Split, Label, str]]] = defaultdict(list)
    for split, files in splits.items():
        for path, label in files:
            if path in pixels:
                same_pixels[pixels[path]].append((split, label, name_below(root, path)))
    groups = sorted(sorted(group) for group in same_pixels.values() if len(group) > 1)
    leaked = [group for group in groups if len({split for split, _, _ in group}) > 1]
    trained = [group for group in leaked if any(split == "train" for split, _, _ in group)]
    if leaked:
        fatal = bool(trained) and not allow_leakage
        yield DataIssue(
            fatal,
            f"{_appear(leaked)} in more than one split; measured accuracy will be inflated",
            _joined(leaked),
            ALLOW_LEAKAGE if fatal else "",
        )
    if mislabelled := [group for group in groups if len({label for _, label, _ in group}) > 1]:
        what = f"{_appear(mislabelled)} in more than one class; at least one label is wrong"
        yield DataIssue(False, what, _joined(mislabelled))


def divided_groups(splits: Splits, groups: Mapping[Path, str]) -> Iterator[DataIssue]:
    """Report groups with images in several splits, which the folder or the CSV file says."""
    sides = defaultdict(set)
    for split, files in splits.items():
        for path, _ in files:
            if path in groups:
                sides[groups[path]].add(split)
    if divided := tuple(sorted(group for group, its in sides.items() if len(its) > 1)):
        what = f"{counted(len(divided), 'group')} with images in more than one split; measured accuracy may be inflated"
        yield DataIssue(False, what, divided)


def imbalance(classes: tuple[str, ...], splits: Splits) -> Iterator[DataIssue]:
    """Report training images that are unevenly distributed over the classes."""
    counts = class_counts_of({"train": splits.get("train", ())}, classes)["train"]
    present = {name: count for name, count in counts.items() if count}
    if not present:
        return
    most, least = max(present, key=lambda name: present[name]), min(present, key=lambda name: present[name])
    ratio = present[most] / present[least]
    if ratio > IMBALANCE:
        share = present[most] / len(splits["train"])
        what = (
            f"uneven classes: {most} has {ratio:.1f} times as many training images as {least}, and {share:.0%} of "
            "them; add --set balance=1 to weigh the classes alike"
        )
        yield DataIssue(False, what, (f"{most}: {present[most]:,}", f"{least}: {present[least]:,}"))


def not_square(shown_as: ImageInput, sizes: Sequence[tuple[int, int]]) -> Iterator[DataIssue]:
    """Report how many images lose much of their area, or are distorted, when they are made square.

    Args:
        shown_as: how the model sees them.
        sizes: width and height of each image.
    """
    aspects = [max(size) / min(size) for size in sizes]
    advice = "add --set resize=pad to show whole images in their proportions"
    if shown_as.resize == "crop":
        many = sum(1 - 1 / aspect > CUT for aspect in aspects)
        effect = f"cropping to a square cuts more than {CUT:.0%} off {{}}"
    elif shown_as.resize == "squash":
        many = sum(aspect >= DISTORTION for aspect in aspects)
        effect = f"squashing to a square distorts {{}} by a factor of {DISTORTION:g} or more"
    else:
        return
    if many and many >= COMMON * len(sizes):
        share = f"{many:,} of {counted(len(sizes), 'image')} ({many / len(sizes):.0%})"
        yield DataIssue(False, f"{effect.format(share)}; {advice}")


def _joined(groups: Iterable[list[tuple[Split, Label, str]]]) -> tuple[str, ...]:
    return tuple(" = ".join(sorted(name for _, _, name in group)) for group in groups)


def _appear(images: Sequence[object]) -> str:
    return f"{counted(len(images), 'image')} {'appears' if len(images) == 1 else 'appear'}"
