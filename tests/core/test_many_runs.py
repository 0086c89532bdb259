"""Many runs: filters, sorting, columns, CSV, and comparisons of any number."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Zoo
from zoo_core import DataError, Registry, RunSummary, UnknownName, UsageError, list_runs
from zoo_core.metrics import wilson
from zoo_core.runs.columns import column, duration, table_columns
from zoo_core.runs.comparison import changed_settings, compared_metrics
from zoo_core.runs.directory import RunDir
from zoo_core.runs.labels import RunLabels
from zoo_core.runs.selection import Filter, selected, to_csv

OLD = Path(__file__).parents[1] / "fixtures" / "ece8b4a"


def summary(name: str, **fields: Any) -> RunSummary:
    return RunSummary(Path("runs/photos") / name, name, **{"status": "finished", **fields})


RUNS = [
    summary("a", accuracy=0.92, seed=0, lr=1e-3, tags=("paper", "best"), data="/home/me/photos", model="horses-net"),
    summary("b", status="failed", seed=2, lr=1e-2, data="/mnt/disk/photos", model="pond-net", note="=1+1"),
    summary("c", accuracy=0.97, seed=1, lr=1e-3, data="fashion-mnist.full", model="Fashion-CNN", options={"width": 2}),
    summary("d", accuracy=0.85, metrics={"validation_macro_f1": 0.7}, tags=("best",), data="/a/p,q.csv", model="x"),
]


def names(found: list[RunSummary]) -> str:
    return "".join(run.name for run in found)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("accuracy>0.9", "ac"),
        ("accuracy >= 97%", "c"),
        ("accuracy<0.9", "d"),  # a run without accuracy has no place in an order
        ("data=photos", "ab"),
        ("data=/home/me/photos", "a"),
        ("data=*/photos", "ab"),
        ("data=fashion-mnist", "c"),
        ("data=p,q", "d"),
        ("tag=best", "ad"),
        ("tags!=best", "bc"),
        ("tag=", "bc"),
        ("status=failed", "b"),
        ("model=fashion-cnn", "c"),
        ("model=*net", "ab"),
        ("lr=0.001", "ac"),
        ("lr<=1e-3", "ac"),
        ("seed!=0", "bcd"),
        ("macro_f1>0.5", "d"),
        ("validation_macro_f1=0.7", "d"),
        ("note==*+1", "b"),
        ("name=a", "a"),
    ],
)
def test_filters(text: str, kept: str) -> None:
    assert names(selected(RUNS, filters=[Filter.parse(text)])) == kept


def test_filters_are_combined() -> None:
    assert names(selected(RUNS, filters=[Filter.parse("tag=best"), Filter.parse("accuracy>0.9")])) == "a"


@pytest.mark.parametrize("text", ["", "accuracy", ">0.9", "accuracy~1", "=x"])
def test_what_is_not_a_filter_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        Filter.parse(text)


@pytest.mark.parametrize(("text", "match"), [("model>0.5", "model is not a number"), ("lr>fast", "'fast' is not")])
def test_an_order_needs_numbers(text: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        selected(RUNS, filters=[Filter.parse(text)])


def test_an_unknown_column_suggests_the_closest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        selected(RUNS, sort="acuracy")


@pytest.mark.parametrize(
    ("sort", "limit", "order"),
    [
        ("accuracy", None, "dacb"),
        ("-accuracy", None, "cadb"),  # a missing value comes last in both directions
        ("-accuracy", 2, "ca"),
        ("seed", None, "acbd"),
        ("-lr", None, "bacd"),  # equal values keep their order
        ("model", None, "cabd"),
        ("tags", None, "dabc"),
        ("macro_f1", None, "dabc"),
        ("", 2, "cd"),  # the newest
    ],
)
def test_sorting_with_missing_values(sort: str, limit: int | None, order: str) -> None:
    assert names(selected(RUNS, sort=sort, limit=limit)) == order


def test_csv_is_exact_and_guarded_against_formulas() -> None:
    header, *rows = csv.reader(io.StringIO(to_csv(RUNS), newline=""))
    records = [dict(zip(header, row, strict=True)) for row in rows]
    assert [record["name"] for record in records] == ["a", "b", "c", "d"]
    assert [float(record["accuracy"]) for record in records if record["accuracy"]] == [0.92, 0.97, 0.85]
    assert records[0]["tags"] == "paper,best"
    assert records[1]["note"] == "'=1+1"
    assert json.loads(records[2]["options"]) == {"width": 2}
    assert records[3]["data"] == "/a/p,q.csv"
    assert records[3]["validation_macro_f1"] == "0.7"
    few = to_csv(RUNS, [column("name", RUNS), column("lr", RUNS)])
    assert few.splitlines() == ["name,lr", "a,0.001", "b,0.01", "c,0.001", "d,"]


def test_data_of_the_same_name_is_told_apart_by_path() -> None:
    data = next(one for one in table_columns(RUNS) if one.name == "data")
    assert [data.text(run) for run in RUNS] == ["me/photos", "disk/photos", "fashion-mnist.full", "p,q.csv"]
    alone = next(one for one in table_columns(RUNS[:1]) if one.name == "data")
    assert alone.text(RUNS[0]) == "photos"


def test_columns_that_no_run_has_are_left_out_and_options_are_shown() -> None:
    shown = {one.name: one for one in table_columns(RUNS)}
    assert not {"interval", "split", "epoch", "duration"} & set(shown)
    assert shown["model"].text(RUNS[2]) == "Fashion-CNN width=2"


@pytest.mark.parametrize(
    ("seconds", "text"), [(7, "7.0 s"), (200, "3 min 20 s"), (59.99, "60.0 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(10, 20, 0.2993, 0.7007), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)],
)
def test_wilson(correct: int, total: int, low: float, high: float) -> None:
    """The values of SciPy's binomtest(correct, total).proportion_ci(method="wilson")."""
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


def test_old_runs_have_every_column(zoo: Zoo, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD, tmp_path / "old")
    found = {str(run.run.relative_to(folder).parent): run for run in list_runs(folder)}
    assert len(found) == 7
    test, own, cut = found["runs/pond"], found["runs-data/pond"], found["interrupted/pond"]
    assert (test.data, test.model, test.lr, test.seed) == ("pond.drawn", "pond-net", 0.001, 0)
    assert (test.split, test.images, test.epoch, test.planned_epochs) == ("test", 12, 2, 2)
    assert (test.low, test.high) == wilson(10, 12)
    assert test.started.startswith("2026-11-24T22:20:28")
    assert (own.data, own.split, own.images) == ("/home/user/photos/pets", "validation", 6)
    assert (cut.status, cut.epoch, cut.accuracy) == ("interrupted", 1, None)
    header = zoo("runs", folder).out.splitlines()[0].split()
    assert header == [one.name for one in table_columns(list(found.values()))]
    assert {"interval", "lr", "seed", "epoch", "duration", "split", "data"} <= set(header)


def test_the_kept_epoch_and_the_intervals_are_those_of_the_run(pond: Registry, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    result = {"status": "finished", "metrics": {"validation_accuracy": 0.75}, "kept": {"epoch": 3, "trained": 7}}
    result |= {"splits": {"validation": {"images": 8}}, "intervals": {"validation_accuracy": [0.4, 0.9]}}
    (run.path / "result.json").write_text(json.dumps({"schema": 1, **result}))
    found = RunSummary.of(run)
    assert (found.epoch, found.images, found.low, found.high) == (3, 8, 0.4, 0.9)


def test_summaries_are_records_and_documents() -> None:
    assert asdict(RUNS[2])["options"] == {"width": 2}  # pandas.DataFrame([...]) makes its rows like this
    assert json.loads(json.dumps(RUNS[2].to_dict()))["run"] == "runs/photos/c"


@pytest.fixture
def three(pond: Registry, tmp_path: Path) -> list[RunDir]:
    made = []
    for seed, accuracy in enumerate((0.5, 0.75, 0.625)):
        run = RunDir.create(tmp_path / "runs", pond.plan("pond", {"seed": seed}), {}, RunLabels(f"r{seed}"))
        run.write_result("finished", metrics={"loss": 0.5, "test_accuracy": accuracy})
        made.append(run)
    return made


def test_a_comparison_has_all_metrics_and_only_the_settings_that_differ(three: list[RunDir]) -> None:
    metrics = {row[0]: row[1:] for row in compared_metrics([RunSummary.of(run) for run in three])}
    assert metrics["loss"] == ("0.5", "0.5", "0.5")
    assert metrics["test accuracy"] == ("50.00 %", "75.00 %", "62.50 %")
    assert list(changed_settings(three)) == [("seed", 0, 1, 2)]


def test_the_command_line_sorts_filters_compares_and_writes_csv(zoo: Zoo, three: list[RunDir]) -> None:
    (three[2].path / "result.json").write_text('{"schema": 1, "metrics": {"test_accuracy": NaN}}')
    said = zoo("runs", "--sort", "-accuracy", "--columns", "name,accuracy,status")
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[1:] == [["r1", "75.00", "%", "finished"], ["r0", "50.00", "%", "finished"], ["r2", "damaged"]]
    said = zoo("runs", "--filter", "accuracy>0.6", "--json")
    assert [run["name"] for run in json.loads(said.out)] == ["r1"]
    rows = list(csv.DictReader(io.StringIO(zoo("runs", "--csv", "--filter", "status=finished").out)))
    assert [(row["name"], float(row["test_accuracy"])) for row in rows] == [("r0", 0.5), ("r1", 0.75)]
    said = zoo("runs", "--compare", "--filter", "status=finished", "--json")
    fields = {row["field"]: row["values"] for row in json.loads(said.out)}
    assert fields == {"plan.recipe.seed": [0, 1], "result.metrics.test_accuracy": [0.5, 0.75]}
    assert "seed" in zoo("runs", three[0].path, three[1].path).out
    assert zoo("runs", "runs/pond").out.count("runs/pond/r") == 3
    assert zoo("runs", "runs/none").code == DataError.exit_code
    assert zoo("runs", "--csv", "--json").code == UsageError.exit_code
