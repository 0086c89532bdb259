"""One's own images: what the audit finds, and what a run makes of them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo_core as zoo
from zoo_core import DataError, Registry, Store
from zoo_core.events import drive, ignore_event
from zoo_core.images.audit import audit, describe, images_of
from zoo_core.images.folder import DataIssue, scan

COLOURS = {"coral": (220, 60, 60), "moss": (60, 200, 60), "sky": (60, 60, 220)}


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-40, 40, (12, 12, 3))
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for side, count in (("train", 8), ("val", 4), ("test", 3)):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for one in range(count):
                draw(root / side / name / f"{one}.png", colour, 1000 * len(side) + 100 * number + one)
    return root


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    for number, (name, colour) in enumerate(COLOURS.items()):
        for one in range(30):
            draw(root / name / f"{one}.jpg", colour, 100 * number + one)
    return root


def found(root: Path) -> dict[str, DataIssue]:
    findings = drive(audit(scan(root)), ignore_event)
    return {finding.what: finding for finding in findings}


def test_sides_are_known_by_their_names(split_folder: Path) -> None:
    folder = scan(split_folder)
    assert folder.classes == ("coral", "moss", "sky")
    assert {split: len(files) for split, files in folder.splits.items()} == {"train": 24, "validation": 12, "test": 9}
    assert found(split_folder) == {}


def test_class_folders_are_split_by_the_hash_of_each_image(class_folder: Path) -> None:
    folder = scan(class_folder)
    held_out = {path.name for path, _ in folder.splits["validation"]}
    assert 8 <= len(folder.splits["validation"]) <= 30
    assert len(folder.splits["train"]) + len(folder.splits["validation"]) == 90
    names = [path for path, _ in folder.splits["validation"]]
    for number, path in enumerate(names):  # another name, the same side: only the bytes count
        path.rename(path.with_name(f"renamed-{number}.jpg"))
    assert len(scan(class_folder).splits["validation"]) == len(held_out | set(map(str, names))) - len(held_out)


def test_a_fingerprint_of_a_folder_knows_every_byte(split_folder: Path) -> None:
    first = images_of(scan(split_folder), "train").fingerprint
    assert images_of(scan(split_folder), "train").fingerprint == first
    draw(split_folder / "train" / "sky" / "0.png", (0, 0, 0), 1)
    assert images_of(scan(split_folder), "train").fingerprint != first


def test_files_are_listed_not_opened(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        for one in range(500):
            (folder / f"{one}.png").touch()
    images = images_of(scan(tmp_path), "train")
    assert len(images) == 1000
    assert images.name(999) == "train/b/99.png"


@pytest.fixture
def faulty(split_folder: Path) -> Path:
    """A folder with every fault that is known."""
    train = split_folder / "train"
    (train / ".ipynb_checkpoints").mkdir()
    (train / "empty").mkdir()
    (split_folder / "val" / "empty").mkdir()
    shutil.rmtree(split_folder / "val" / "sky")
    (train / "moss" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (train / "moss" / "zero.jpg").touch()
    Image.new("L", (10_000, 10_000)).save(train / "moss" / "bomb.png")
    shutil.copy(train / "coral" / "0.png", split_folder / "val" / "coral" / "copy.png")
    shutil.copy(train / "moss" / "1.png", train / "sky" / "torn.png")
    return split_folder


def test_every_fault_is_listed_at_once(faulty: Path) -> None:
    findings = found(faulty)
    assert findings["hidden folders are no classes, and are passed over"].paths == ("train/.ipynb_checkpoints",)
    assert findings["a class is missing on this side"].paths == ("val/sky", "test/empty")
    bad = findings["3 image(s) cannot be used"].paths
    assert [line.split(":")[0] for line in bad] == [
        "train/moss/bomb.png",
        "train/moss/broken.png",
        "train/moss/zero.jpg",
    ]
    assert "pixels" in bad[0]
    (same,) = findings["1 image(s) stand on two sides: what is measured there is too good"].paths
    assert same == "train/coral/0.png = val/coral/copy.png"
    assert findings["class folders without an image"].paths == ("train/empty", "val/empty")
    assert "    train/empty" in describe(findings["class folders without an image"]).splitlines()
    (torn,) = findings["1 image(s) stand in two classes: one of the labels is wrong"].paths
    assert torn == "train/moss/1.png = train/sky/torn.png"
    assert not findings["hidden folders are no classes, and are passed over"].fatal


def test_a_faulty_folder_stops_a_run_before_it_writes_anything(
    faulty: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as raised:
        zoo.run("pond", data=faulty, out=tmp_path / "runs", registry=pond, store=store)
    assert "val/sky" in str(raised.value)
    assert "train/moss/broken.png" in str(raised.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("recipe", ["pond", "pond-features"])
def test_a_run_learns_the_folders_classes(
    recipe: str, split_folder: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    result = zoo.run(recipe, data=split_folder, epochs=20, lr=0.05, out=tmp_path / "runs", registry=pond, store=store)
    assert result.metrics["test_accuracy"] >= 0.9
    assert result.comparisons == ()
    plan = json.loads((result.directory / "plan.json").read_text())
    assert plan["classes"] == ["coral", "moss", "sky"]
    (prediction,) = zoo.predict(result.directory, split_folder / "test" / "sky" / "0.png", registry=pond, store=store)
    assert prediction.label == "sky"


def test_notes_are_kept_with_the_run(split_folder: Path, pond: Registry, store: Store, tmp_path: Path) -> None:
    (split_folder / "train" / ".hidden").mkdir()
    result = zoo.run("pond", data=split_folder, epochs=1, out=tmp_path / "runs", registry=pond, store=store)
    (finding,) = json.loads((result.directory / "audit.json").read_text())["findings"]
    assert finding["paths"] == ["train/.hidden"]


def test_names_that_are_no_text_are_no_obstacle(
    split_folder: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    shutil.copy(split_folder / "val/sky/0.png", Path(os.fsdecode(bytes(split_folder / "val/sky") + b"/\xff.png")))
    result = zoo.run("pond-features", data=split_folder, epochs=1, out=tmp_path / "r", registry=pond, store=store)
    assert b"val/sky/\xff.png" in (result.directory / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda root: None, "is no folder"),
        (lambda root: root.mkdir(), "0 class folder"),
        (lambda root: draw(root / "only" / "a.png", (0, 0, 0), 1), "1 class folder"),
        (lambda root: [draw(root / "train" / c / "a.png", v, 1) for c, v in COLOURS.items()], "neither validation/"),
        (lambda root: [draw(root / c / "a.png", v, 1) for c, v in COLOURS.items()], "too few images"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_explained(
    make: object, what: str, tmp_path: Path, pond: Registry, store: Store
) -> None:
    make(tmp_path / "data")  # type: ignore[operator]
    with pytest.raises(DataError, match=what):
        zoo.run("pond", data=tmp_path / "data", out=tmp_path / "runs", registry=pond, store=store)
