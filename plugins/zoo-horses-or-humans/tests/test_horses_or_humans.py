from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest
import zoo_horses_or_humans

import zoo_core as zoo

DATA = Path(zoo_horses_or_humans.__file__).parent / "data"


@pytest.mark.parametrize(("split", "count"), [("train", 1027), ("validation", 256)])
def test_the_compact_archives_hold_each_image_once_in_order_without_dates(split: str, count: int) -> None:
    with zipfile.ZipFile(DATA / f"{split}.zip") as archive:
        names = archive.namelist()
        assert len(set(names)) == len(names) == count
        assert names == sorted(names)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(("split", "counts"), [("train", {0: 500, 1: 527}), ("validation", {0: 128, 1: 128})])
def test_classes_and_counts_are_the_sources(split: zoo.cards.Split, counts: dict[int, int]) -> None:
    images = zoo.load_dataset("horses-or-humans", split)
    assert images.classes == ("horses", "humans")
    assert Counter(images[i][1] for i in range(len(images))) == counts
    assert images[0][0].size == (300, 300)


def test_the_authors_name_goes_with_the_images() -> None:
    (card,) = zoo_horses_or_humans.zoo_datasets()
    assert card.license == "CC-BY-2.0"
    assert "Laurence Moroney" in card.attribution
