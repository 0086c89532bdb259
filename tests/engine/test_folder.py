"""Folders of your own images: listing, splitting, the audit, and training on them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo_core as zoo
from zoo_core import DataError, Plan, Registry, Store
from zoo_core.cards.fields import resolve
from zoo_core.data.splits import open_splits
from zoo_core.engine.compute.distributed import World
from zoo_core.engine.training.run import execute
from zoo_core.errors import IntegrityError
from zoo_core.events import AuditNote, EpochResult, Event, drive, ignore_event
from zoo_core.images.audit import AuditedImages, audit
from zoo_core.images.decode import MAX_BYTES
from zoo_core.images.folder import scan
from zoo_core.images.hash_split import split_by_hash
from zoo_core.images.issues import DataIssue, describe
from zoo_core.runs.directory import RunDir
from zoo_core.runs.legacy import upgrade

COLOURS = {"coral": (220, 60, 60), "moss": (60, 200, 60), "sky": (60, 60, 220)}


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-40, 40, (12, 12, 3))
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for split, count in (("train", 8), ("val", 4), ("test", 3)):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for index in range(count):
                draw(root / split / name / f"{index}.png", colour, 1000 * len(split) + 100 * number + index)
    return root


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    root = tmp_path / "class-folders"
    for number, (name, colour) in enumerate(COLOURS.items()):
        for index in range(30):
            draw(root / name / f"{index}.jpg", colour, 100 * number + index)
    return root


def audited(root: Path) -> AuditedImages:
    return drive(audit(scan(root)), ignore_event)


def issues(root: Path) -> dict[str, DataIssue]:
    return {issue.what: issue for issue in audited(root).issues}


def test_splits_are_known_by_their_folder_names(split_folder: Path) -> None:
    folder = scan(split_folder)
    assert folder.classes == ("coral", "moss", "sky")
    assert {split: len(files) for split, files in folder.splits.items()} == {"train": 24, "validation": 12, "test": 9}
    assert issues(split_folder) == {}
    assert audited(split_folder).class_counts["test"] == {"coral": 3, "moss": 3, "sky": 3}


def test_class_folders_are_split_by_the_hash_of_each_image(class_folder: Path) -> None:
    folder = audited(class_folder)
    validation = [path for path, _ in folder.splits["validation"]]
    assert 8 <= len(validation) <= 30
    assert len(folder.splits["train"]) + len(validation) == 90
    every = sorted(class_folder.rglob("*.jpg"))
    held_out = [path for path in every if int(hashlib.sha256(path.read_bytes()).hexdigest()[:8], 16) % 5 == 0]
    assert sorted(validation) == held_out  # the same split since the first version
    for number, path in enumerate(validation):  # renamed files stay in their split
        path.rename(path.with_name(f"renamed-{number}.jpg"))
    assert all(path.name.startswith("renamed") for path, _ in audited(class_folder).splits["validation"])


def digest(split: str, number: int) -> str:
    """A digest that belongs to a split; a smaller number sorts first."""
    return f"{5 * number + (split == 'train'):08x}" + "0" * 56


def split_of(*files: tuple[str, int, str]) -> dict[str, set[str]]:
    """Split files given as (name, label, digest), and return the names."""
    paths = [(Path(name), label) for name, label, _ in files]
    splits = split_by_hash(paths, {Path(name): digest for name, _, digest in files})
    return {split: {str(path) for path, _ in labelled} for split, labelled in splits.items()}


def test_a_class_with_two_images_has_one_on_each_side() -> None:
    small = [(f"cat/{number}", 0, digest("train", number)) for number in (3, 1, 2)]
    held_out = [(f"dog/{number}", 1, digest("validation", number)) for number in (7, 6)]
    both = [("fox/1", 2, digest("train", 20)), ("fox/0", 2, digest("validation", 20))]
    splits = split_of(*small, *held_out, *both)
    assert splits["validation"] == {"cat/1", "dog/7", "fox/0"}
    assert splits["train"] == {"cat/2", "cat/3", "dog/6", "fox/1"}


def test_identical_files_stay_in_one_split() -> None:
    copies = [("cat/a", 0, digest("train", 1)), ("cat/copy", 0, digest("train", 1)), ("cat/b", 0, digest("train", 2))]
    shared = [("dog/a", 1, digest("train", 0)), ("dog/c", 1, digest("train", 3)), ("cat/s", 0, digest("train", 0))]
    splits = split_of(*copies, *shared)
    assert splits["validation"] == {"cat/a", "cat/copy", "dog/c"}  # dog/a would move cat/s with it


@pytest.mark.parametrize("seed", range(8))
def test_small_folders_are_never_refused_by_luck(tmp_path: Path, seed: int) -> None:
    for number, (name, colour) in enumerate(COLOURS.items()):
        for index in range(2 + number):
            draw(tmp_path / name / f"{index}.png", colour, 1000 * seed + 100 * number + index)
    folder = audited(tmp_path)
    folder.stop_if_fatal()
    assert all(min(counts.values()) >= 1 for counts in folder.class_counts.values())


def test_a_class_with_one_image_cannot_be_split(class_folder: Path) -> None:
    for path in sorted((class_folder / "moss").iterdir())[1:]:
        path.unlink()
    shutil.copy(class_folder / "moss" / "0.jpg", class_folder / "moss" / "copy.jpg")
    issue = issues(class_folder)["too few images to split: each class needs at least two different ones"]
    assert issue == DataIssue(True, issue.what, ("moss",))


def test_a_fingerprint_depends_on_every_byte(split_folder: Path) -> None:
    first = audited(split_folder).images("train")
    assert audited(split_folder).images("train").fingerprint == first.fingerprint
    draw(split_folder / "train" / "sky" / "0.png", (0, 0, 0), 1)
    assert audited(split_folder).images("train").fingerprint != first.fingerprint


def test_a_fingerprint_is_the_same_from_digests_and_from_files(split_folder: Path) -> None:
    images = audited(split_folder).images("train")
    assert len(images.digests) == len(images)
    assert zoo.FolderImages(images.root, images.files, images.classes).fingerprint == images.fingerprint


@pytest.fixture
def opened() -> Iterator[Counter[str]]:
    """Counts how often each image file is opened."""
    counts = Counter[str]()

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if active and event == "open" and str(arguments[0]).endswith((".png", ".jpg")):
            counts[str(arguments[0])] += 1

    active = True
    sys.addaudithook(count)  # an audit hook cannot be removed
    yield counts
    active = False


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """Counts how often SHA-256 is given the same bytes."""
    counts, original = Counter[bytes](), hashlib.sha256

    def sha256(content: bytes = b"") -> object:
        counts[content] += 1
        return original(content)

    monkeypatch.setattr(hashlib, "sha256", sha256)
    return counts


@pytest.mark.parametrize("recipe", ["pond", "pond-features"])
@pytest.mark.parametrize("layout", ["split_folder", "class_folder"])
def test_each_image_is_read_twice_and_hashed_once_before_epoch_1(
    recipe: str,
    layout: str,
    request: pytest.FixtureRequest,
    opened: Counter[str],
    hashed: Counter[bytes],
    pond: Registry,
    store: Store,
    tmp_path: Path,
) -> None:
    root: Path = request.getfixturevalue(layout)
    before: list[Counter[str]] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochResult):
            before.append(Counter(opened))

    opened.clear()
    plan = pond.plan(recipe, {"epochs": 1}, data=root)
    assert opened == {}  # a plan only lists the folder
    execute(plan, store=store, out=tmp_path / "runs", on_event=note)
    images = [str(path) for path in root.rglob("*.*")]
    assert before == [Counter({path: 1 if "/test/" in path else 2 for path in images})]  # test images wait for the end
    assert {hashed[Path(path).read_bytes()] for path in images} == {1}


@dataclass(frozen=True)
class SecondRank(World):
    """A rank that receives what the first one has audited."""

    received: AuditedImages | None = None

    def broadcast(self, value: object) -> Any:
        assert value is None
        return self.received


def test_only_the_first_rank_reads_images_for_the_audit(
    class_folder: Path, pond: Registry, store: Store, opened: Counter[str]
) -> None:
    plan = pond.plan("pond", data=class_folder)
    first = drive(open_splits(plan, store), ignore_event)
    received = pickle.loads(pickle.dumps(audited(class_folder)))
    opened.clear()
    second = drive(open_splits(plan, store, world=SecondRank(1, 2, 2, received)), ignore_event)
    assert second == first
    assert opened == {}


def test_a_dry_run_reads_no_image(class_folder: Path, opened: Counter[str], zoo: Callable, with_pond: Registry) -> None:
    opened.clear()
    said = zoo("run", "pond", "--data", class_folder, "--dry-run")
    assert said.code == 0, said.err
    assert opened == {}


def test_the_card_of_a_folder_names_no_code_that_is_missing(class_folder: Path, pond: Registry) -> None:
    loader = pond.plan("pond", data=class_folder).dataset.loader
    assert loader is None or resolve(loader)


def test_a_plan_of_class_folders_records_the_split_once_it_is_known(
    class_folder: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    plan = pond.plan("pond", {"epochs": 1}, data=class_folder)
    assert plan.edition.examples == {"train": 90}
    run = execute(plan, store=store, out=tmp_path / "runs").directory
    recorded = RunDir(run).plan()
    assert recorded.edition.examples == {split: len(files) for split, files in audited(class_folder).splits.items()}
    assert pond.plan_again(recorded) == recorded


def test_a_plan_that_ece8b4a_made_of_class_folders_is_still_valid(
    class_folder: Path, pond: Registry, store: Store
) -> None:
    """It split the folder while planning, and named a loader that did not exist."""
    counts = {split: len(files) for split, files in audited(class_folder).splits.items()}
    fields = pond.plan("pond", data=class_folder).with_examples(counts).model_dump(mode="json")
    fields["dataset"]["loader"] = "zoo_core.engine.folder:load"
    again = pond.plan_again(Plan.model_validate(upgrade("plan.json", fields)))
    opened = drive(open_splits(again, store), ignore_event)
    assert {split: len(images) for split, images in opened.splits.items()} == counts
    assert opened.plan == again


def test_a_run_is_not_repeated_on_another_split(
    class_folder: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    run = execute(pond.plan("pond", {"epochs": 1}, data=class_folder), store=store, out=tmp_path / "runs").directory
    moved = audited(class_folder).splits["validation"][0][0]
    shutil.copy(audited(class_folder).splits["train"][0][0], moved)
    with pytest.raises(IntegrityError, match="have changed since the plan was made"):
        execute(pond.plan_again(RunDir(run).plan()), store=store, out=tmp_path / "again")
    moved.unlink()
    with pytest.raises(IntegrityError, match="edition"):
        pond.plan_again(RunDir(run).plan())


def test_listing_a_folder_opens_no_image(tmp_path: Path, opened: Counter[str]) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        for index in range(500):
            (folder / f"{index}.png").touch()
    opened.clear()
    files = scan(tmp_path).splits["train"]
    assert len(files) == 1000
    assert files[999][0] == tmp_path / "train/b/99.png"
    assert opened == {}


@pytest.fixture
def faulty(split_folder: Path) -> Path:
    """A folder with every known issue."""
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


def test_every_issue_is_listed_at_once(faulty: Path) -> None:
    found = issues(faulty)
    assert found["ignored 1 hidden folder"] == DataIssue(
        False, "ignored 1 hidden folder", ("train/.ipynb_checkpoints",)
    )
    assert found["2 class folders are missing"].paths == ("val/sky", "test/empty")
    bad = found["3 images cannot be used"].paths
    assert [line.split(":")[0] for line in bad] == [
        "train/moss/bomb.png",
        "train/moss/broken.png",
        "train/moss/zero.jpg",
    ]
    assert "pixels" in bad[0]
    (leaked,) = found["1 image appears in more than one split; measured accuracy will be inflated"].paths
    assert leaked == "train/coral/0.png = val/coral/copy.png"
    assert found["2 class folders without images"].paths == ("train/empty", "val/empty")
    assert "    train/empty" in describe(found["2 class folders without images"]).splitlines()
    (torn,) = found["1 image appears in more than one class; at least one label is wrong"].paths
    assert torn == "train/moss/1.png = train/sky/torn.png"


def test_equal_pixels_in_other_formats_are_found(split_folder: Path) -> None:
    with Image.open(split_folder / "train/coral/0.png") as image:
        image.save(split_folder / "val/coral/same.bmp")
        image.save(split_folder / "train/moss/same.webp", lossless=True)
        image.save(split_folder / "train/coral/repeat.tiff")  # harmless: the same class and split
    leaked = issues(split_folder)["1 image appears in more than one split; measured accuracy will be inflated"].paths
    assert leaked == ("train/coral/0.png = train/coral/repeat.tiff = train/moss/same.webp = val/coral/same.bmp",)
    assert issues(split_folder)["1 image appears in more than one class; at least one label is wrong"].paths == leaked


def test_a_repeated_image_in_one_class_and_split_is_harmless(split_folder: Path) -> None:
    shutil.copy(split_folder / "train/coral/0.png", split_folder / "train/coral/again.png")
    assert issues(split_folder) == {}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("layout", ["split_folder", "class_folder"])
def test_a_file_above_the_size_limit_is_not_opened(
    layout: str, request: pytest.FixtureRequest, opened: Counter[str]
) -> None:
    root: Path = request.getfixturevalue(layout)
    huge = next(path for path in root.rglob("moss")) / "huge.png"
    with huge.open("wb") as file:
        file.truncate(60_000_000_000)  # sparse
    opened.clear()
    (line,) = issues(root)["1 image cannot be used"].paths
    assert line.endswith(f"moss/huge.png: 60,000,000,000 bytes, the limit is {MAX_BYTES:,}")
    assert str(huge) not in opened


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


def test_notes_are_saved_with_the_run_and_sent_as_events(
    split_folder: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    (split_folder / "train" / ".hidden").mkdir()
    seen: list[Event] = []
    plan = pond.plan("pond", {"epochs": 1}, data=split_folder)
    result = execute(plan, store=store, out=tmp_path / "runs", on_event=seen.append)
    (finding,) = json.loads((result.directory / "audit.json").read_text())["findings"]
    assert finding["paths"] == ["train/.hidden"]
    notes = [event for event in seen if isinstance(event, AuditNote)]
    counts = tuple(f"{name}: 8 train, 4 validation, 3 test" for name in COLOURS)
    majority = "always answering coral would be right for 33.3% of the test images"
    assert notes == [
        AuditNote(f"24 train, 12 validation, 9 test images; {majority}", counts),
        AuditNote("ignored 1 hidden folder", ("train/.hidden",)),
    ]


def test_file_names_may_be_bytes_that_are_not_utf8(
    split_folder: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    shutil.copy(split_folder / "val/sky/0.png", Path(os.fsdecode(bytes(split_folder / "val/sky") + b"/\xff.png")))
    result = zoo.run("pond-features", data=split_folder, epochs=1, out=tmp_path / "r", registry=pond, store=store)
    assert b"val/sky/\xff.png" in (result.directory / "predictions.csv").read_bytes()


def drawn_classes(root: Path, *seeds: int) -> None:
    for name, colour in COLOURS.items():
        for seed in seeds:
            draw(root / name / f"{seed}.png", colour, seed)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda root: None, "is not a folder"),
        (lambda root: root.mkdir(), "at least two classes are required, found 0"),
        (lambda root: draw(root / "only" / "a.png", (0, 0, 0), 1), "at least two classes are required, found 1: only"),
        (lambda root: drawn_classes(root / "train", 1), "neither validation/ nor val/"),
        (lambda root: drawn_classes(root, 1), "too few images to split"),
    ],
)
def test_an_unusable_folder_is_explained(
    make: Callable[[Path], None], what: str, tmp_path: Path, pond: Registry, store: Store
) -> None:
    make(tmp_path / "data")
    with pytest.raises(DataError, match=what):
        zoo.run("pond", data=tmp_path / "data", out=tmp_path / "runs", registry=pond, store=store)
