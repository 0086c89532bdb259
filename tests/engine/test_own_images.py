"""Training and evaluating on CSV files and with split settings; what stops a run, and what it is told beforehand."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

import zoo_core as zoo
from tests.conftest import Zoo
from tests.engine.test_folder import COLOURS, SecondRank, draw
from zoo_core import DataError, ImageInput, Plan, Registry, Store, load_dataset
from zoo_core.data.evaluation import open_eval_data
from zoo_core.data.splits import open_splits
from zoo_core.engine.training.run import execute
from zoo_core.events import AuditNote, drive, ignore_event
from zoo_core.images.audit import AuditedImages, audit
from zoo_core.images.folder import scan
from zoo_core.images.image_sets import names_of
from zoo_core.progress import note_lines
from zoo_core.recipes.settings import SplitSettings
from zoo_core.runs.directory import RunDir

CLASSES = tuple(COLOURS)


@pytest.fixture
def six_each(tmp_path: Path) -> Path:
    """Class folders with six images each."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        for index in range(6):
            draw(tmp_path / "six" / name / f"{index // 2}-{index}.png", colour, 100 * number + index)
    return tmp_path / "six"


@pytest.fixture
def table(six_each: Path) -> Path:
    """The same images, in a CSV file with a column `group`."""
    rows = [
        f"{path.relative_to(six_each.parent)},{path.parent.name},{path.name[:1]}{path.parent.name}"
        for path in sorted(six_each.rglob("*.png"))
    ]
    (six_each.parent / "six.csv").write_text("\n".join(["path,label,group", *rows]))
    return six_each.parent / "six.csv"


def audited(source: Path, **settings: object) -> AuditedImages:
    return drive(audit(scan(source), SplitSettings(**settings)), ignore_event)  # type: ignore[arg-type]


def notes_of(plan: Plan, store: Store) -> dict[str, tuple[str, ...]]:
    seen: list[object] = []
    drive(open_splits(plan, store), seen.append)
    return {event.what: event.paths for event in seen if isinstance(event, AuditNote)}


def test_six_images_a_class_are_split_by_a_fraction(six_each: Path) -> None:
    folder = audited(six_each, fraction=0.2)
    assert folder.issues == ()
    assert folder.class_counts["validation"] == dict.fromkeys(CLASSES, 1)
    assert audited(six_each, fraction=0.5).class_counts["validation"] == dict.fromkeys(CLASSES, 3)


def test_groups_come_from_a_pattern_or_from_a_column(six_each: Path, table: Path) -> None:
    by_pattern = audited(six_each, fraction=0.34, group=r"\w+/\d")
    by_column = audited(table, fraction=0.34)
    assert by_pattern.class_counts["validation"] == by_column.class_counts["validation"] == dict.fromkeys(CLASSES, 2)
    for images in (by_pattern, by_column):
        held = {(path.parent.name, path.name[0]) for path, _ in images.splits["validation"]}
        assert held.isdisjoint((path.parent.name, path.name[0]) for path, _ in images.splits["train"])


def test_a_class_with_one_group_is_named(six_each: Path) -> None:
    for path in (six_each / "moss").iterdir():
        path.rename(path.with_name(f"7-{path.name[2:]}"))
    (issue,) = audited(six_each, group=r"\w+/\d").issues
    assert issue.fatal
    assert issue.what == "1 class with all images in one group, which stays on one side of the split"
    assert issue.paths == ("moss",)


def test_a_run_on_a_csv_is_evaluated_on_its_own_split(
    table: Path, pond: Registry, store: Store, tmp_path: Path, zoo: Zoo, with_pond: Registry
) -> None:
    flags = ("--val-fraction", "0.34", "--epochs", "1", "--out", tmp_path / "runs")
    said = zoo("run", "pond", "--data", table, *flags)
    assert said.code == 0, said.err
    assert "Note: 12 train, 6 validation images; always answering coral would be right for 33.3%" in said.err
    assert "  moss: 4 train, 2 validation" in said.err
    run = tmp_path / "runs" / table.stem / "latest"
    plan = RunDir(run).plan()
    assert plan.edition.examples == {"train": 12, "validation": 6}
    assert pond.plan_again(plan) == plan
    counts = json.loads((run / "audit.json").read_text())["class_counts"]
    assert counts["validation"] == dict.fromkeys(CLASSES, 2)
    validation = audited(table, fraction=0.34).images("validation")
    held = {validation.name(index) for index in range(6)}
    for data in (None, table):
        opened = open_eval_data(pond, store, run, CLASSES, data=data)
        assert set(names_of(opened.images)) == held
        assert opened.name == f"{table} (validation)"
    assert all(image in (run / "predictions.csv").read_text() for image in held)


def test_the_keywords_of_run_are_the_settings_of_the_split(
    six_each: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    result = zoo.run(
        "pond",
        data=six_each,
        val_fraction=0.4,
        group=r"\w+/\d",
        allow_leakage=True,
        epochs=1,
        out=tmp_path / "runs",
        registry=pond,
        store=store,
    )
    settings = RunDir(result.directory).plan().recipe.split
    assert settings == SplitSettings(fraction=0.4, group=r"\w+/\d", allow_leakage=True)


@pytest.fixture
def leaking(six_each: Path) -> Path:
    """A folder with one image for training and, as a BMP, for validation."""
    root = six_each.parent / "leaking"
    for name in CLASSES:
        for split, numbers in (("train", range(4)), ("validation", range(4, 6))):
            (root / split / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(six_each / name / f"{number // 2}-{number}.png", root / split / name)
    with Image.open(root / "train" / "sky" / "0-0.png") as image:
        image.save(root / "validation" / "sky" / "copy.bmp")
    return root


def test_an_image_in_two_splits_stops_a_run_and_the_command_to_type_works(
    leaking: Path, tmp_path: Path, zoo: Zoo, with_pond: Registry
) -> None:
    said = zoo("run", "pond", "--data", leaking, "--epochs", "1", "--out", tmp_path / "runs")
    assert said.code == DataError.exit_code
    assert "error: 1 image appears in more than one split" in said.err
    assert "    train/sky/0-0.png = validation/sky/copy.bmp" in said.err
    assert not (tmp_path / "runs").exists()
    (typed,) = (line.removeprefix("Try: zoo ") for line in said.err.splitlines() if line.startswith("Try: zoo "))
    said = zoo(*shlex.split(typed), "--epochs", "1", "--out", tmp_path / "runs")
    assert said.code == 0, said.err
    assert "Note: 1 image appears in more than one split" in said.err
    said = zoo("eval", tmp_path / "runs/latest")
    assert said.code == 0, said.err


def test_another_error_beside_a_leak_is_not_allowed_by_an_option(leaking: Path, pond: Registry, store: Store) -> None:
    (leaking / "train" / "sky" / "zero.png").touch()
    with pytest.raises(DataError, match="1 image cannot be used") as raised:
        drive(open_splits(pond.plan("pond", data=leaking), store), ignore_event)
    assert raised.value.fix == ""


def test_a_resumed_run_is_not_stopped_by_a_leak(leaking: Path, pond: Registry, store: Store) -> None:
    opened = drive(open_splits(pond.plan("pond", data=leaking), store, resumed=True), ignore_event)
    assert len(opened.splits["validation"]) == 7


def test_images_that_are_only_measured_on_twice_are_a_note(leaking: Path) -> None:
    shutil.move(leaking / "validation/sky/copy.bmp", leaking / "validation/sky/copy.png")
    shutil.copytree(leaking / "validation", leaking / "test")
    (leaking / "train/sky/0-0.png").unlink()
    (issue,) = (issue for issue in audited(leaking).issues if "more than one split" in issue.what)
    assert not issue.fatal


def test_copies_in_other_formats_never_leak_from_class_folders(six_each: Path) -> None:
    for name in CLASSES:
        for path in list((six_each / name).iterdir()):
            with Image.open(path) as image:
                image.save(path.with_suffix(".bmp"))
    for settings in ({}, {"fraction": 0.2}, {"fraction": 0.5}):
        images = audited(six_each, **settings)
        assert images.issues == ()
        held = Counter(path.with_suffix("") for path, _ in images.splits["validation"])
        assert set(held.values()) == {2}


def test_a_class_folder_that_an_earlier_version_split_keeps_its_split(
    six_each: Path, pond: Registry, store: Store
) -> None:
    before = audited(six_each)
    trained = before.splits["train"][0][0]
    with Image.open(trained) as image:
        image.save(trained.with_suffix(".bmp"))
    copy = trained.with_suffix(".bmp")
    while int(sha256(copy.read_bytes()).hexdigest()[:8], 16) % 5:  # until its bytes hash to the other side
        copy.write_bytes(copy.read_bytes() + b"\0")
    then = {"train": before.counts["train"], "validation": before.counts["validation"] + 1}
    plan = pond.plan("pond", data=six_each).with_examples(then)
    opened = drive(open_splits(pond.plan_again(plan), store), ignore_event)
    assert {split: len(images) for split, images in opened.splits.items()} == then
    fresh = drive(open_splits(pond.plan("pond", data=six_each), store), ignore_event)
    assert {split: len(images) for split, images in fresh.splits.items()} != then


def test_uneven_classes_are_reported_before_training(six_each: Path, pond: Registry, store: Store) -> None:
    for index in range(6, 30):
        draw(six_each / "sky" / f"{index}.png", COLOURS["sky"], 1000 + index)
    plan = pond.plan("pond", {"split.fraction": 0.2}, data=six_each)
    (what,) = (what for what in notes_of(plan, store) if what.startswith("uneven"))
    assert "sky has 4.8 times as many training images as coral, and 71% of them" in what
    assert "--set balance=1" in what
    (counts,) = (what for what in notes_of(plan, store) if "always answering" in what)
    assert "always answering sky would be right for 75.0% of the validation images" in counts


@pytest.mark.parametrize(
    ("resize", "said"),
    [
        ("crop", "cropping to a square cuts more than 20% off 6 of 18 images (33%); add --set resize=pad"),
        (
            "squash",
            "squashing to a square distorts 6 of 18 images (33%) by a factor of 1.5 or more; add --set resize=pad",
        ),
        ("pad", None),
    ],
)
def test_wide_images_are_reported_before_training(
    resize: str, said: str | None, six_each: Path, pond: Registry, store: Store
) -> None:
    for path in (six_each / "moss").iterdir():
        with Image.open(path) as image:
            image.resize((30, 12)).save(path)
    notes = notes_of(pond.plan("pond", {"resize": resize}, data=six_each), store)
    found = [what for what in notes if "square" in what]
    assert [what.partition(" to show")[0] for what in found] == ([said] if said else [])


def test_a_few_wide_images_are_not_worth_a_note(six_each: Path) -> None:
    shown = ImageInput(size=8, resize="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    images = drive(audit(scan(six_each), shown_as=shown), ignore_event)
    assert images.issues == ()


def test_a_fraction_that_is_not_used_is_reported(leaking: Path) -> None:
    issues = audited(leaking, fraction=0.3, allow_leakage=True).issues
    assert "the images are split already, so the fraction 0.3 is not used" in {issue.what for issue in issues}


def test_groups_that_a_csv_divides_are_reported(table: Path) -> None:
    head, *rows = table.read_text().splitlines()
    lines = [f"{row},{'val' if number % 2 else 'train'}" for number, row in enumerate(rows)]
    table.write_text("\n".join([f"{head},split", *lines]))
    (issue,) = audited(table).issues
    assert (issue.fatal, len(issue.paths)) == (False, 9)
    assert "9 groups with images in more than one split" in issue.what


def test_an_image_counts_for_each_of_its_labels(six_each: Path, pond: Registry) -> None:
    paths = sorted(path.relative_to(six_each).as_posix() for path in six_each.rglob("*.png"))
    rows = [f"{path},{('red;outdoors', 'red', '')[number % 3]}" for number, path in enumerate(paths)]
    (six_each / "labels.csv").write_text("\n".join(["path,label", *rows]))
    images = audited(six_each / "labels.csv", fraction=0.34)
    assert images.counts == {"train": 12, "validation": 6}
    assert images.class_counts == {
        "train": {"outdoors": 4, "red": 8},
        "validation": {"outdoors": 2, "red": 4},
    }
    opened = images.images("validation")
    assert Counter(opened.label(index) for index in range(6)) == {(0, 1): 2, (1,): 2, (): 2}
    assert {opened[index][1] for index in range(6)} == {(0, 1), (1,), ()}
    assert opened.classes == ("outdoors", "red")


def test_only_the_first_rank_audits_for_an_evaluation(
    table: Path, pond: Registry, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = execute(pond.plan("pond", {"epochs": 1}, data=table), store=store, out=tmp_path / "runs").directory
    first = open_eval_data(pond, store, run, CLASSES)
    received = audited(table)
    monkeypatch.setattr("zoo_core.images.audit.read_bytes", None)  # the other ranks read no image for the audit
    again = open_eval_data(pond, store, run, CLASSES, world=SecondRank(1, 2, 2, received))
    assert again == first


def test_a_dataset_from_a_csv(table: Path, zoo: Zoo, pond: Registry, with_pond: Registry) -> None:
    images = load_dataset(table, "train", registry=pond)
    assert images.classes == CLASSES
    said = zoo("run", table)
    assert (said.code, "is a CSV file, not a recipe" in said.err) == (2, True)
    assert f"Try: zoo run RECIPE --data {table}" in said.err


def test_a_note_with_many_paths_is_cut_on_the_terminal() -> None:
    lines = note_lines(AuditNote("what\x1b[2J", tuple(map(str, range(1000)))))
    assert lines[0] == "Note: what\\x1b[2J"
    assert lines[-1] == "  and 979 more: see audit.json"
    assert len(lines) == 23
