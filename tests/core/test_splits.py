"""How zoo splits images that nobody has split: by hash, by a fraction of each class, and in groups."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings, strategies as st

from zoo_core.cards.fields import Split
from zoo_core.errors import UsageError
from zoo_core.images.hash_split import split_by_hash
from zoo_core.images.labels import classes_in
from zoo_core.images.listing import LabelledFile, ListedImages
from zoo_core.images.split import Splits, split_images
from zoo_core.images.stratified_split import split_stratified
from zoo_core.images.units import groups_of, unit_keys
from zoo_core.recipes.settings import SplitSettings
from zoo_core.registry.registry import Registry

ROOT = Path("photos")


def digest_of(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def held_out(splits: Splits) -> set[Path]:
    return {path for path, _ in splits["validation"]}


def split(
    listed: ListedImages,
    settings: SplitSettings,
    digests: Mapping[Path, str],
    pixels: Mapping[Path, bytes] = MappingProxyType({}),
    recorded: Mapping[Split, int] = MappingProxyType({}),
) -> Splits:
    """Split the images as the audit does."""
    keys = unit_keys(listed.splits["train"], digests, pixels, groups_of(listed, settings.group))
    return split_images(listed, settings, keys, digests, recorded)


def numbered(*sizes: int) -> list[LabelledFile]:
    """Files of classes with these numbers of images."""
    return [(ROOT / f"{label}/{number}.png", label) for label, size in enumerate(sizes) for number in range(size)]


SIZES = st.lists(st.integers(2, 40), min_size=2, max_size=6)
FRACTIONS = st.floats(0.01, 0.99)


@settings(max_examples=100, deadline=None)
@given(SIZES, FRACTIONS, st.integers())
def test_a_fraction_is_held_out_of_each_class_to_one_image(sizes: list[int], fraction: float, salt: int) -> None:
    files = numbered(*sizes)
    keys = {path: digest_of((salt, path)) for path, _ in files}
    splits = split_stratified(files, keys, fraction)
    counts = Counter(label for _, label in splits["validation"])
    for label, size in enumerate(sizes):
        assert counts[label] == min(max(1, round(fraction * size)), size - 1)
        of_class = sorted(keys[path] for path, its in files if its == label)
        held = sorted(keys[path] for path, its in splits["validation"] if its == label)
        assert held == of_class[: counts[label]]  # the smallest hashes
    assert sorted([*splits["train"], *splits["validation"]]) == sorted(files)
    assert held_out(split_stratified(files[::-1], keys, fraction)) == held_out(splits)


@settings(max_examples=100, deadline=None)
@given(SIZES, FRACTIONS | st.none(), st.integers(1, 9), st.integers())
def test_a_group_is_never_divided_and_every_class_is_on_both_sides(
    sizes: list[int], fraction: float | None, burst: int, salt: int
) -> None:
    files = numbered(*sizes)
    digests = {path: digest_of((salt, path)) for path, _ in files}
    groups = {path: f"{label}-{int(path.stem) // burst}" for path, label in files}
    listed = ListedImages(
        ROOT, ROOT, tuple(map(str, range(len(sizes)))), {"train": tuple(files)}, (), True, groups=groups
    )
    splits = split(listed, SplitSettings(fraction=fraction), digests)
    sides = defaultdict(set)
    for name, labelled in splits.items():
        for path, _ in labelled:
            sides[groups[path]].add(name)
    assert all(len(its) == 1 for its in sides.values())
    for label, size in enumerate(sizes):
        both = {name for name, labelled in splits.items() for _, its in labelled if its == label}
        assert len(both) == (1 if size <= burst else 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 4)), min_size=12, max_size=60), st.sampled_from([0.2, 0.35]))
def test_rare_labels_keep_their_share_with_several_labels(labels: list[set[int]], fraction: float) -> None:
    files = [(ROOT / f"{number}.png", tuple(sorted(its))) for number, its in enumerate(labels)]
    splits = split_stratified(files, {path: digest_of(path) for path, _ in files}, fraction)
    total = Counter(one for its in labels for one in its)
    counts = Counter(one for _, its in splits["validation"] for one in classes_in(its))
    frequent = [one for one in total if total[one] > 1]
    if frequent:
        rarest = min(frequent, key=lambda one: (total[one], one))
        expected = min(max(1, round(fraction * total[rarest])), total[rarest] - 1)
        assert abs(counts[rarest] - expected) <= 1
    assert sorted([*splits["train"], *splits["validation"]]) == sorted(files)


def test_common_labels_are_evened_out_too() -> None:
    files = [
        (ROOT / f"{n}.png", (0, 1) if n % 10 == 0 else (1,) if n % 2 else (1, 2) if n % 3 else ()) for n in range(300)
    ]
    splits = split_stratified(files, {path: digest_of(path) for path, _ in files}, 0.2)
    total = Counter(one for _, its in files for one in its or (-1,))
    counts = Counter(one for _, its in splits["validation"] for one in its or (-1,))
    assert {one: round(counts[one] / total[one], 2) for one in sorted(total)} == pytest.approx(
        {-1: 0.2, 0: 0.2, 1: 0.2, 2: 0.2}, abs=0.02
    )


def test_labels_of_a_single_image_do_not_keep_a_common_one_from_being_split() -> None:
    files = [(ROOT / f"{number}.png", (0, number + 1)) for number in range(100)]
    splits = split_stratified(files, {path: digest_of(path) for path, _ in files}, 0.2)
    assert len(splits["validation"]) == 20


def test_without_a_fraction_or_groups_the_split_is_by_the_bytes_alone() -> None:
    files = numbered(40, 50, 60)
    digests = {path: digest_of(path) for path, _ in files}
    listed = ListedImages(ROOT, ROOT, ("0", "1", "2"), {"train": tuple(files)}, (), True)
    splits = split(listed, SplitSettings(), digests)
    assert splits == split_by_hash(files, digests)
    assert held_out(splits) == {path for path, one in digests.items() if int(one[:8], 16) % 5 == 0}


def test_equal_pixels_stay_together_unless_an_earlier_run_divided_them() -> None:
    files = numbered(30, 30)
    digests = {path: digest_of(path) for path, _ in files}
    by_bytes = split_by_hash(files, digests)
    trained, measured = by_bytes["train"][0][0], by_bytes["validation"][0][0]
    pixels = {path: digest_of(path).encode() for path, _ in files} | {trained: b"same", measured: b"same"}
    listed = ListedImages(ROOT, ROOT, ("0", "1"), {"train": tuple(files)}, (), True)
    for fraction in (None, 0.1, 0.2, 0.5):
        splits = split(listed, SplitSettings(fraction=fraction), digests, pixels)
        assert len({trained, measured} & held_out(splits)) in (0, 2)
    recorded = {split: len(labelled) for split, labelled in by_bytes.items()}
    assert split(listed, SplitSettings(), digests, pixels, recorded) == by_bytes
    assert split(listed, SplitSettings(), digests, pixels, {"train": 60}) != by_bytes


def test_what_is_joined_through_others_stays_together() -> None:
    files = numbered(6)
    paths = [path for path, _ in files]
    digests = {path: digest_of(path) for path in paths} | {paths[1]: digest_of(paths[0])}
    keys = unit_keys(files, digests, {paths[1]: b"p", paths[2]: b"p"}, {paths[2]: "burst", paths[3]: "burst"})
    assert len({keys[path] for path in paths[:4]}) == 1
    assert len(set(keys.values())) == 3
    assert keys[paths[5]] == digests[paths[5]]
    del digests[paths[4]]
    assert paths[4] not in unit_keys(files, digests, {}, {})


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        (r"IMG_\d+", "IMG_0042"),
        (r"cats/(\w+)_\d+", "IMG"),
        (r"(cats)/(?P<shot>IMG_\d{3})", "IMG_004"),
        (r"(dogs)?/IMG", "/IMG"),
        (r"nowhere", None),
    ],
)
def test_a_pattern_names_the_group(pattern: str, group: str | None) -> None:
    path = ROOT / "cats/IMG_0042.jpg"
    listed = ListedImages(ROOT, ROOT, ("cats",), {"train": ((path, 0),)}, (), True)
    assert groups_of(listed, pattern).get(path) == group


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [("group", "(", "not a regular expression"), ("fraction", 0, "greater than 0"), ("fraction", 1.0, "less than 1")],
)
def test_settings_of_a_split_are_checked(key: str, value: object, why: str, pond: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        pond.plan("pond", {f"split.{key}": value}, data=tmp_path)
    assert f"split.{key}" in raised.value.why
    assert why in raised.value.why


def test_a_dataset_with_its_own_splits_is_not_split_again(pond: Registry) -> None:
    with pytest.raises(UsageError, match="a split needs your own images"):
        pond.plan("pond", {"split.fraction": 0.2})
