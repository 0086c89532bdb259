"""The report of a run, made from its files."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from zoo_core import DataError, Predictions, PredictionTable, Registry
from zoo_core.errors import printable
from zoo_core.events import EpochResult
from zoo_core.metrics import SplitCounts
from zoo_core.recipes.reference import ReferenceMetric
from zoo_core.results import Comparison, KeptEpoch, Mistake, RunResult, compare
from zoo_core.runs.directory import RunDir
from zoo_core.runs.report import render, write_report

DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)


@pytest.fixture
def run(pond: Registry, tmp_path: Path) -> RunDir:
    """A finished run, written by hand."""
    run = RunDir.create(
        tmp_path, pond.plan("pond"), {"python": "3.11", "command": "zoo run pond", "packages": {"x": "1"}}
    )
    predictions = Predictions(("a.png", "b.png"), (0, 1), ((0.8, 0.1, 0.1), (0.5, 0.3, 0.2)))
    for epoch in (1, 2):
        run.record(EpochResult(epoch, 2, {"loss": 1 / epoch, "train_accuracy": 0.4 * epoch}, 1.5))
    run.write_predictions(PredictionTable.of(predictions, ("ducks", "frogs", "newts")))
    run.write_mistakes(
        [Mistake("b.png", "frogs", "ducks", 0.3, DOT, DOT), Mistake("a.png", "ducks", "ducks", 0.8, DOT, None)]
    )
    run.write_result("finished", metrics={"loss": 0.5, "train_accuracy": 0.8}, comparisons=compare(None, {}))
    return run


class Tags(HTMLParser):
    """Collects what a page would load, and what it runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]


def test_the_page_holds_everything(run: RunDir) -> None:
    page = write_report(run).read_text()
    text = re.sub(r"<[^>]+>", " ", page)
    for said in ("ducks", "frogs", "b.png", "zoo run pond", "zoo reproduce", "calibration error", "80.00 %"):
        assert said in text, said
    assert page.count("<svg") == 4  # loss, accuracy, confusion, calibration
    assert page.count("<img") == 3


def test_the_page_is_self_contained(run: RunDir) -> None:
    page = Tags(render(run))
    assert all(one.startswith(("data:", "#")) for one in page.loads), page.loads
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_names_from_outside_are_text(run: RunDir) -> None:
    nasty = "<script>alert(1)</script>.png"
    run.write_mistakes([Mistake(nasty, "frogs", "<b>", 0.1, DOT, None)])
    page = render(run)
    assert "script" not in Tags(page).tags
    assert "&lt;script&gt;" in page


def test_a_page_shows_only_files_of_its_run(run: RunDir, tmp_path: Path) -> None:
    """Paths in mistakes.json are not followed."""
    (tmp_path / "secret").write_bytes(b"secret")
    entry = {"name": "x", "label": "frogs", "predicted": "frogs", "probability": 0.1, "image": "../../../secret"}
    (run.path / "mistakes.json").write_text(json.dumps({"mistakes": [entry]}))
    assert "c2VjcmV0" not in render(run)


def test_an_unfinished_run_has_a_page(pond: Registry, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    assert "interrupted: killed" in render(run)
    with run.locked():
        assert "running" in render(run)
    run.write_result("interrupted", reason="Ctrl-C")
    assert "interrupted: Ctrl-C" in render(run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", b"{"),
        ("result.json", b"[1]"),
        ("result.json", b'{"reference": [{"metric": 1}]}'),
        ("mistakes.json", b'{"mistakes": [1]}'),
        ("mistakes.json", b'{"mistakes": [{"name": "x"}]}'),
        ("predictions.csv", b"image\nx\n"),
        ("predictions.csv", b""),
        ("predictions.csv", b"image,label,prediction,p(a)\nx,y,z,0.5\n"),
        ("predictions.csv", b"image,label,prediction,p(a)\nx,a,a,much\n"),
        ("result.json", b'{"metrics": 3}'),
        ("metrics.jsonl", b'{"epoch": 1, "loss": 1, "kinds": 3}\n'),
        ("metrics.jsonl", b'{"epoch": 1, "loss": 1}\n{"epoch": 2}\n'),
        ("environment.json", b"\xff"),
    ],
)
def test_damaged_files_are_named(run: RunDir, name: str, content: bytes) -> None:
    (run.path / name).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        render(run)


def test_a_rank_that_does_not_write_writes_nothing(run: RunDir) -> None:
    silent = replace(run, writes=False)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    silent.write_result("failed")
    silent.write_report("page")
    silent.record(EpochResult(3, 3, {"loss": 0.1}, 1.0))
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def predictions_of(names: tuple[str, ...], classes: tuple[str, ...]) -> PredictionTable:
    """One image per name; the first class is always predicted, and is never the label of the last image."""
    row = tuple(1.0 if k == 0 else 0.0 for k in range(len(classes)))
    labels = tuple(k % len(classes) for k in range(len(names)))
    return PredictionTable.of(Predictions(names, labels, (row,) * len(names)), classes)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$a_$", "US$ vs CA$", "🐕", "犬", "x" * 75, "a\rb", "=1+1", "<b>", "\x1b[31m"])
def test_any_class_and_file_name_can_be_reported(run: RunDir, name: str) -> None:
    run.write_predictions(predictions_of((f"{name}.png", "b.png"), (name, "dogs")))
    page = render(run)
    assert page.count("<svg") == 4
    assert html.escape(printable(name)) in page
    assert "\x1b" not in page


@pytest.mark.filterwarnings("error")
def test_forty_classes_are_named_and_the_most_confused_listed(run: RunDir) -> None:
    classes = tuple(f"class number {k}" for k in range(40))
    run.write_predictions(predictions_of(tuple(f"{k}.png" for k in range(40)), classes))
    page = render(run)
    assert "Most confused classes class number 0" not in text_of(page)
    assert "Most confused classes true predicted images class number 1 class number 0 1" in text_of(page)
    (matrix,) = re.findall(r'<svg[^>]* id="confusion".*?</svg>', page, flags=re.S)
    assert all(f">{name}<" in matrix for name in classes)


def test_a_class_that_is_never_predicted_has_undefined_precision(run: RunDir) -> None:
    run.write_predictions(predictions_of(("a.png", "b.png"), ("cats", "dogs")))
    assert "dogs 1 – 0.00 %" in text_of(render(run))
    assert "none" not in text_of(render(run)).split()


def test_one_epoch_has_one_tick(pond: Registry, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, pond.plan("pond", {"epochs": 1}), {})
    run.record(EpochResult(1, 1, {"loss": 0.5}, 1.0))
    page = render(run)
    (curve,) = re.findall(r'<svg[^>]* id="loss".*?</svg>', page, flags=re.S)
    axis = curve[curve.index('id="matplotlib.axis_1"') : curve.index('id="matplotlib.axis_2"')]
    assert re.findall(r"<text[^>]*>([^<]*)</text>", axis) == ["1", "epoch"]
    assert "1 epoch, batch size" in text_of(page)


def test_fields_that_the_trainer_does_not_use_are_not_shown(installed: Registry, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, installed.plan("transfer"), {})
    run.record(EpochResult(1, 1, {"loss": 0.5, "strength": 0.1}, 1.0))
    page = text_of(render(run))
    assert "logistic-head: seed 0" in page
    assert "learning rate" not in page
    assert 'id="strength"' not in render(run)  # one dot


def test_a_run_on_a_folder_has_its_own_heading(pond: Registry, tmp_path: Path) -> None:
    plan = pond.plan("pond")
    run = RunDir.create(tmp_path, plan.model_copy(update={"data": tmp_path / "pets", "classes": ("cat", "dog")}), {})
    page = text_of(render(run))
    assert plan.recipe.summary not in page
    assert f"pond-net on pets 2 classes from {tmp_path / 'pets'}" in page


def test_kinds_of_a_trainers_own_metrics_are_shown(run: RunDir) -> None:
    (run.path / "metrics.jsonl").unlink()
    run.record(EpochResult(1, 1, {"agreement": 0.25}, 1.0, kinds={"agreement": "fraction"}))
    run.write_result("finished", metrics={"agreement": 0.25, "steps": 0.25})
    assert "agreement 25.00 % steps 0.25" in text_of(render(run))


@pytest.mark.parametrize(("chance", "verdict"), [(0.5, "not comparable"), (0.2, "match")])
def test_a_match_at_chance_level_is_not_comparable(run: RunDir, chance: float, verdict: str) -> None:
    published = ReferenceMetric(value=0.53, within=0.15)
    comparison = Comparison("validation_accuracy", published, 0.5, chance)
    run.write_result("finished", metrics={"validation_accuracy": 0.5}, comparisons=[comparison])
    assert f"validation accuracy about 53.00 % 50.00 % {verdict}" in text_of(render(run))


def test_terminal_escapes_of_a_foreign_run_are_not_shown(run: RunDir) -> None:
    (run.path / "result.json").write_text(json.dumps({"schema": 1, "status": "failed", "reason": "\x1b]0;PWNED\x07"}))
    (run.path / "environment.json").write_text(json.dumps({"schema": 1, "python": "\x1b[31m"}))
    assert "\x1b" not in render(run)


def result_of(run: RunDir, *, kept: KeptEpoch | None = None) -> RunResult:
    counts = {"ducks": 70, "frogs": 20, "newts": 10}
    splits = {split: SplitCounts(100, counts) for split in ("train", "validation")}
    metrics = {"loss": 0.5, "validation_accuracy": 0.9, "train_accuracy": 0.95}
    return RunResult(run.path, metrics, kept=kept, splits=splits, seconds=90.25)


def test_accuracies_have_intervals_and_a_baseline(run: RunDir) -> None:
    run.write_finished(result_of(run))
    text = text_of(render(run))
    assert "validation accuracy 90.00 % 82.6 – 94.5 % 70.00 %" in text
    assert "train accuracy 95.00 % 70.00 %" in text
    assert "always predicting the most frequent class would reach 50.00 %" in text  # of predictions.csv
    assert "(95 % interval 9.5 – 90.5 %)" in text
    assert "Balanced accuracy 50.00 %, macro F1 33.33 %" in text
    assert "wall time 90.2 s; 3.0 s for all epochs" in text


def test_images_are_counted_by_class(run: RunDir) -> None:
    run.write_finished(result_of(run))
    text = text_of(render(run))
    assert "ducks 70 70 frogs 20 20 newts 10 10" in text
    assert "train 48 ducks: 70" in text


def test_the_kept_epoch_is_named_and_marked(run: RunDir) -> None:
    run.write_finished(result_of(run, kept=KeptEpoch(1, 2, "validation_accuracy", "stopped after epoch 2 of 9")))
    page = render(run)
    text = text_of(page)
    assert "finished: stopped after epoch 2 of 9" in text
    assert "best epoch 1 of 2: validation accuracy 90.00 %" in text
    assert "Metrics of the best epoch" in text
    (curve,) = re.findall(r'<svg[^>]* id="loss".*?</svg>', page, flags=re.S)
    assert "best epoch: 1" in curve
    run.write_finished(result_of(run, kept=KeptEpoch(2, 2)))
    assert "best epoch" not in render(run)


def test_losses_share_a_chart(run: RunDir) -> None:
    (run.path / "metrics.jsonl").unlink()
    metrics = {"loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.5, "validation_macro_f1": 0.4}
    run.record(EpochResult(1, 1, metrics, 1.0))
    page = render(run)
    (curve,) = re.findall(r'<svg[^>]* id="loss".*?</svg>', page, flags=re.S)
    assert ">validation loss<" in curve
    assert page.count("<svg") == 5  # losses, accuracy, means over classes, confusion, calibration


def test_hyper_parameters_are_listed(pond: Registry, tmp_path: Path) -> None:
    changes = {"balance": 0.5, "augment": [{"name": "rotation", "degrees": 10}]}
    page = render(RunDir.create(tmp_path, pond.plan("pond", changes), {}))
    shown, _, folded = page.partition("<details>")
    assert "balance 0.5" in text_of(shown)
    assert "augment rotation degrees=10" in text_of(shown)
    assert "optimizer adam lr=0.001" in text_of(shown)
    assert "layer_decay 1.0" in text_of(folded)


def test_a_pair_of_classes_that_is_confused_is_listed_for_few_classes_too(run: RunDir) -> None:
    assert "Most confused classes true predicted images frogs ducks 1" in text_of(render(run))
