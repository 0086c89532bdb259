"""`split.folds`: no image is held out, and each is predicted by a head that was fitted without its fold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo_core as zoo_module
from tests.conftest import Zoo
from tests.engine.test_logistic_head import clusters
from zoo_core import DataError, Progress, Registry, Store, UsageError
from zoo_core.data.splits import open_splits
from zoo_core.engine.training.cross_validation import fit_head
from zoo_core.engine.training.folds import assign_folds
from zoo_core.engine.training.out_of_fold import out_of_fold_logits
from zoo_core.engine.training.run import execute
from zoo_core.events import AuditNote, Event, drive, ignore_event
from zoo_core.metrics import accuracy_interval
from zoo_core.runs.directory import RunDir
from zoo_core.runs.report import render
from zoo_core.runs.selection import Filter, selected
from zoo_core.runs.summary import RunSummary

FEW = {"settings.allow_random": True, "model": "pond-net", "weights": None, "settings.strengths": [1.0, 0.1]}
FOLDS = {**FEW, "split.folds": 3}


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up which distribution a package belongs to reads every installed distribution, for every key."""
    monkeypatch.setattr("zoo_core.engine.training.feature_key.owner_of", lambda package: package)


def options(changes: dict[str, Any]) -> list[str]:
    return [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def predicted(rows: Tensor, targets: Tensor, groups: Tensor | None = None, **fit: Any) -> Tensor:
    def steps(*images: Any) -> Any:
        return fit_head(*images, classes=3, seed=3, **fit)

    return drive(out_of_fold_logits(steps, rows, targets, groups, classes=3, folds=4, seed=3), ignore_event)


def test_a_fold_is_predicted_by_the_head_of_the_others() -> None:
    rows, labels = clusters(spread=4)
    strengths = [1.0, 0.1, 0.01]
    assigned, logits = assign_folds(labels, 4, 3), predicted(rows, labels, strengths=strengths)
    chosen = set()
    for fold in range(4):
        kept = assigned != fold
        head = drive(fit_head(rows[kept], labels[kept], classes=3, seed=3, strengths=strengths), ignore_event)
        assert torch.equal(logits[~kept], head.logits(rows[~kept]))
        chosen.add((head.strength, head.temperature))
    assert len(chosen) == 4  # each head chose its own


def test_nothing_about_a_fold_changes_its_predictions() -> None:
    rows, labels = clusters()
    targets = torch.nn.functional.one_hot(labels, 3).float()  # the folds of such targets do not depend on them
    held = assign_folds(targets, 4, 3) == 0
    moved = targets.clone()
    moved[held] = 1 - targets[held]
    before, after = (predicted(rows, each, strengths=[1.0, 0.1]) for each in (targets, moved))
    assert torch.equal(before[held], after[held])
    assert not torch.equal(before[~held], after[~held])


def test_copies_are_predicted_without_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 40, generator=generator).repeat(3, 1)
    labels, groups = torch.randint(0, 3, (20,), generator=generator).repeat(3), torch.arange(20).repeat(3)
    accuracies = [
        predicted(rows, labels, given, strengths=[0.01]).argmax(dim=1).eq(labels).double().mean()
        for given in (None, groups)
    ]
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.7
    with pytest.raises(DataError, match="a class cannot be divided into folds"):
        predicted(rows, labels, torch.where(labels == 0, 0, groups + 1))


@pytest.fixture
def run(photos: Path, pond: Registry, store: Store, tmp_path: Path) -> RunDir:
    plan = pond.plan("transfer", {**FOLDS, "metrics": ["macro-f1"]}, data=photos)
    return RunDir(execute(plan, store=store, out=tmp_path / "runs").directory)


def test_a_run_measures_every_image_once_and_says_how(run: RunDir, photos: Path) -> None:
    result, table = run.read_json("result.json"), run.read_predictions()
    assert run.plan().edition.examples == {"train": 72}
    assert table is not None
    assert sorted(table.names) == sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    right = sum(row.index(max(row)) == label for row, label in zip(table.probabilities, table.labels, strict=True))
    assert result["metrics"]["validation_accuracy"] == right / 72
    assert result["intervals"]["validation_accuracy"] == list(accuracy_interval(right / 72, 72))
    assert {"validation_loss", "validation_balanced_accuracy", "validation_macro_f1"} <= result["metrics"].keys()
    assert result["splits"]["validation"] == {**result["splits"]["train"], "folds": 3}
    assert run.read_json("mistakes.json")["mistakes"]
    page = " ".join(render(run).split())
    assert "Evaluation by 3-fold cross-validation" in page
    assert "Validation is a 3-fold cross-validation" in page
    summary = RunSummary.of(run)
    assert (summary.accuracy, summary.images, summary.folds) == (right / 72, 72, 3)
    for text in ("split=validation", "split=3-fold cross-validation"):
        assert selected([summary], filters=[Filter.parse(text)], sort="", limit=None) == [summary]


def test_the_head_is_fitted_on_all_images(run: RunDir, photos: Path, pond: Registry, store: Store) -> None:
    """It is the head of a run that validates on a copy of an image."""
    paths = sorted(photos.rglob("*.png"))
    (photos / "copy.png").write_bytes(paths[0].read_bytes())
    rows = [f"{path.relative_to(photos)},{path.parent.name},train" for path in paths]
    table = photos / "all.csv"
    table.write_text("\n".join(["path,label,split", *rows, f"copy.png,{paths[0].parent.name},val"]))
    plan = pond.plan("transfer", {**FEW, "split.allow_leakage": True}, data=table)
    held_out = execute(plan, store=store, out=photos.parent / "runs").directory
    assert (held_out / "weights.safetensors").read_bytes() == run.weights.read_bytes()


def test_an_interrupted_run_resumes_to_the_same_bits_and_is_reproduced(
    run: RunDir, photos: Path, store: Store, with_pond: Registry, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.what == "fold 2 of 3: cross-validation":
            raise KeyboardInterrupt

    plan = with_pond.plan_again(run.plan())
    with pytest.raises(KeyboardInterrupt):
        execute(plan, store=store, out=photos.parent / "stopped", on_event=stop)
    (stopped,) = (photos.parent / "stopped").glob("photos/*Z")
    resumed = zoo_module.run(resume=stopped, registry=with_pond, store=store)
    for name in ("weights.safetensors", "predictions.csv"):
        assert (resumed.directory / name).read_bytes() == (run.path / name).read_bytes()
    assert resumed.metrics == run.read_json("result.json")["metrics"]
    assert "3-fold cross-validation on all 72 training images" in resumed.validated
    said = zoo("reproduce", run.path, "--out", photos.parent / "again")
    assert said.code == 0, said.err
    assert "NO MATCH" not in said.out


def test_several_labels_are_validated_by_folds(photos: Path, pond: Registry, store: Store) -> None:
    rows = [f"{path.relative_to(photos)},{path.parent.name};all" for path in sorted(photos.rglob("*.png"))]
    (photos / "labels.csv").write_text("\n".join(["path,labels", *rows]))
    plan = pond.plan("transfer", FOLDS, data=photos / "labels.csv")
    result = execute(plan, store=store, out=photos.parent / "runs")
    assert {"validation_map", "validation_macro_f1", "validation_micro_f1"} <= result.metrics.keys()
    assert result.splits["validation"].images == 72
    assert "Evaluation by 3-fold cross-validation" in render(RunDir(result.directory))


def test_folds_take_the_place_of_a_recipes_fraction_and_a_fraction_that_of_folds(
    photos: Path, pond: Registry, tmp_path: Path
) -> None:
    split = pond.plan("transfer", FOLDS, data=photos).recipe.split
    assert (split.folds, split.fraction) == (3, None)
    assert pond.plan("transfer", FEW, data=photos).recipe.split.fraction == 0.2
    with pytest.raises(UsageError) as raised:
        pond.plan("transfer", {**FOLDS, "split.fraction": 0.3}, data=photos)
    assert "fraction and folds exclude each other" in raised.value.why


def test_what_cannot_be_cross_validated_is_refused(
    photos: Path, pond: Registry, store: Store, zoo: Zoo, with_pond: Registry
) -> None:
    paths = sorted(photos.rglob("*.png"))
    for recipe, trainer in (("pond", "supervised"), ("pond-patient", "patient"), ("pond-features", "frozen-features")):
        with pytest.raises(UsageError, match=f"the trainer {trainer} cannot validate by cross-validation") as raised:
            pond.plan(recipe, {"split.folds": 5}, data=photos)
        assert raised.value.fix == "zoo run transfer --data FOLDER --set split.folds=5"
    with pytest.raises(UsageError, match="a split needs your own images"):
        pond.plan("pond-features", {"trainer": "logistic-head", "split.folds": 5})
    plan = pond.plan("transfer", {**FOLDS, "settings.hold_bytes": 100}, data=photos)
    with pytest.raises(UsageError, match=r"72 images are too many for split\.folds"):
        execute(plan, store=store, out=photos.parent / "runs")
    assert not (photos.parent / "runs").exists()
    said = zoo("tune", "transfer", "--data", photos, *options(FOLDS))
    assert (said.code, "split.folds cannot be used in a search" in said.err) == (UsageError.exit_code, True)
    rows = [f"{path.relative_to(photos)},{path.parent.name},{'train' if '1' in path.stem else 'val'}" for path in paths]
    (photos / "split.csv").write_text("\n".join(["path,label,split", *rows]))
    with pytest.raises(UsageError, match=r"split\.csv already has a validation split"):
        pond.plan("transfer", FOLDS, data=photos / "split.csv")


def test_more_folds_than_images_of_a_class(photos: Path, pond: Registry, store: Store) -> None:
    for path in photos.rglob("*.png"):
        if int(path.stem) >= 3:
            path.unlink()
    plan = pond.plan("transfer", {**FOLDS, "split.folds": 9}, data=photos)
    events = list[Event]()
    result = execute(plan, store=store, out=photos.parent / "runs", on_event=events.append)
    assert result.splits["validation"].folds == 9
    assert "fold 9 of 9: cross-validation" in {event.what for event in events if isinstance(event, Progress)}
    plan = pond.plan("transfer", {**FOLDS, "split.folds": 10}, data=photos)
    with pytest.raises(DataError, match="9 images cannot be divided into 10 folds"):
        execute(plan, store=store, out=photos.parent / "runs")


def test_folds_are_suggested_where_there_are_no_validation_images(photos: Path, zoo: Zoo, with_pond: Registry) -> None:
    root = photos.parent / "sides"
    for path in photos.rglob("*.png"):
        target = root / ("test" if path.stem < "12" else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    said = zoo("run", "transfer", "--data", root, *options(FEW))
    assert said.code == DataError.exit_code
    assert f"Try: zoo run transfer --data {root} --set split.folds=5" in said.err
    said = zoo("run", "transfer", "--data", root, *options(FOLDS))
    assert said.code == 0, said.err
    assert "Note: 60 train, 12 test images, validated by 3-fold cross-validation" in said.err
    assert "validation: 3-fold cross-validation on all 60 training images, each predicted by a head" in said.out
    assert "test accuracy" in said.out
    assert "on the 12 test images" in zoo("eval", "runs/sides/latest").err
    rows = [f"{path.relative_to(root)},{path.parent.name},train" for path in sorted((root / "train").rglob("*.png"))]
    (root / "train.csv").write_text("\n".join(["path,label,split", *rows]))
    said = zoo("run", "transfer", "--data", root / "train.csv", *options(FOLDS))
    assert said.code == 0, said.err
    assert "has no images that the run was not trained on" in zoo("eval", "runs/train/latest").err
    assert "3-fold cross-validation" in zoo("runs").out


def test_a_class_that_cannot_be_divided_stops_the_run(photos: Path, pond: Registry, store: Store) -> None:
    grouped = pond.plan("transfer", {**FOLDS, "split.group": "newts|ducks/[01]"}, data=photos)
    with pytest.raises(DataError) as raised:
        execute(grouped, store=store, out=photos.parent / "runs")
    assert "1 class with all images in one group, which is in one fold\n    newts" in raised.value.why
    for path in sorted((photos / "newts").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError) as raised:
        execute(pond.plan("transfer", FOLDS, data=photos), store=store, out=photos.parent / "runs")
    assert "too few images to split: each class needs at least two different ones\n    newts" in raised.value.why


def test_folds_are_suggested_for_few_validation_images(photos: Path, pond: Registry, store: Store) -> None:
    def suggested(recipe: str, changes: dict[str, Any]) -> bool:
        opened = drive(open_splits(pond.plan(recipe, changes, data=photos), store), seen.append)
        texts = [event.what for event in seen if isinstance(event, AuditNote)]
        seen.clear()
        found = [text for text in texts if "add --set split.folds=5 to validate on all 72 by cross-validation" in text]
        assert found == [issue.what for issue in opened.issues]
        return bool(found)

    seen: list[Event] = []
    assert suggested("transfer", FEW)
    assert not suggested("transfer", FOLDS)
    assert not suggested("transfer", {**FEW, "split.fraction": 0.5})
    assert not suggested("pond", {"split.fraction": 0.2})
