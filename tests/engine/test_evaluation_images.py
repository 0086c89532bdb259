"""Which images `zoo eval` measures: the held-out part of a run's data, and all of any other folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Zoo
from zoo_core import DataError, Registry, Store, UsageError
from zoo_core.data.evaluation import EvaluationImages, open_eval_data
from zoo_core.engine.training.run import execute
from zoo_core.images.image_sets import names_of

FEW = {"settings.allow_random": True, "model": "pond-net", "weights": None, "settings.strengths": [1.0]}
CLASSES = ("ducks", "frogs", "newts")


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up which distribution a package belongs to reads every installed distribution, for every key."""
    monkeypatch.setattr("zoo_core.engine.training.feature_key.owner_of", lambda package: package)


@pytest.fixture
def elsewhere(photos: Path) -> Path:
    """Other pictures of the same classes."""
    for number, path in enumerate(sorted(photos.glob("*/[0-4].png"))):
        target = photos.parent / "elsewhere" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (10 * number, 99, 30)).save(target)
    return photos.parent / "elsewhere"


class Trained:
    """A run on the photos, and what is opened to evaluate it on."""

    def __init__(self, registry: Registry, photos: Path, store: Store, changes: dict[str, Any]) -> None:
        self.registry, self.store = registry, store
        plan = registry.plan("transfer", {**FEW, **changes}, data=photos)
        self.run = execute(plan, store=store, out=photos.parent / "runs").directory

    def opened(self, data: Path | None = None, split: Any = None) -> EvaluationImages:
        return open_eval_data(self.registry, self.store, self.run, CLASSES, data=data, split=split)


def test_another_folder_is_measured_as_a_whole_and_the_runs_own_in_its_held_out_part(
    pond: Registry, photos: Path, store: Store, elsewhere: Path
) -> None:
    trained = Trained(pond, photos, store, {})
    held_out = trained.opened().images
    assert len(held_out) == 15
    for same in (photos, photos / ".." / "photos", _link_to(photos)):
        opened = trained.opened(same)
        assert (opened.name, names_of(opened.images)) == (f"{same} (validation)", names_of(held_out))
    other = trained.opened(elsewhere)
    assert (other.split, other.name) == ("all", f"{elsewhere} (all)")
    assert names_of(other.images) == tuple(f"{name}/{number}.png" for name in CLASSES for number in range(5))
    forced = trained.opened(elsewhere, split="validation")
    assert (forced.split, len(forced.images)) == ("validation", 3)
    assert len(trained.opened(elsewhere, split="train").images) == 12


def test_a_folder_that_was_moved_is_still_the_runs(pond: Registry, photos: Path, store: Store) -> None:
    trained = Trained(pond, photos, store, {"split.fraction": 0.3})
    held_out = names_of(trained.opened().images)
    moved = photos.rename(photos.with_name("moved"))
    opened = trained.opened(moved)
    assert (opened.split, names_of(opened.images)) == ("validation", held_out)
    (moved / held_out[0]).unlink()
    assert trained.opened(moved).split == "all"


def test_a_run_that_held_nothing_out_is_measured_on_other_images(
    pond: Registry, photos: Path, store: Store, elsewhere: Path
) -> None:
    trained = Trained(pond, photos, store, {"split.folds": 2})
    assert trained.opened(elsewhere).split == "all"
    copy = shutil.copytree(photos, photos.parent / "copy")
    for own in (None, photos, copy):
        with pytest.raises(UsageError, match="has no images that the run was not trained on"):
            trained.opened(own)
    assert len(trained.opened(split="train").images) == 72


def test_test_images_and_splits_of_others_are_taken_as_they_are(
    pond: Registry, photos: Path, store: Store, elsewhere: Path
) -> None:
    trained = Trained(pond, photos, store, {})
    paths = sorted(elsewhere.rglob("*.png"))
    rows = [f"{path.relative_to(elsewhere)},{path.parent.name},{'test' if path.stem < '2' else ''}" for path in paths]
    (elsewhere / "some.csv").write_text("\n".join(["path,label,split", *rows]))
    opened = trained.opened(elsewhere / "some.csv")
    assert (opened.split, len(opened.images)) == ("test", 6)
    rows = [
        f"{path.relative_to(elsewhere)},{path.parent.name},{'val' if path.stem < '2' else 'train'}" for path in paths
    ]
    (elsewhere / "all.csv").write_text("\n".join(["path,label,split", *rows]))
    opened = trained.opened(elsewhere / "all.csv")
    assert (opened.split, len(opened.images)) == ("validation", 6)


def test_a_damaged_image_anywhere_in_another_folder_is_an_error(
    pond: Registry, photos: Path, store: Store, elsewhere: Path
) -> None:
    trained = Trained(pond, photos, store, {})
    for name in CLASSES:
        (elsewhere / name / "0.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot be used") as raised:
        trained.opened(elsewhere)
    assert "3 images cannot be used" in raised.value.why


def test_the_command_says_which_images_it_measured(
    pond: Registry, with_pond: Registry, photos: Path, store: Store, elsewhere: Path, zoo: Zoo
) -> None:
    run = Trained(pond, photos, store, {}).run
    assert f"on the 15 validation images of {photos}\n" in zoo("eval", run).err
    said = zoo("eval", run, "--data", elsewhere, "--json")
    assert f"on all 15 images of {elsewhere}\n" in said.err
    document = json.loads(said.out)
    assert (document["images"], document["split"], document["n"]) == (f"{elsewhere} (all)", "all", 15)


def _link_to(folder: Path) -> Path:
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link
