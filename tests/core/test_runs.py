"""Lists of runs, their differences, the run to resume, and a run compared with its reproduction."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.conftest import Zoo
from zoo_core import DataError, EpochResult, IntegrityError, Registry, RunSummary
from zoo_core.recipes.reference import RecipeReference, ReferenceMetric
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import (
    ENVIRONMENT,
    compare_metrics,
    differences,
    environment_diff,
    find_resumable,
    find_runs,
)


def made(pond: Registry, root: Path, accuracy: float, *, machine: str = "here", **overrides: object) -> RunDir:
    environment = dict.fromkeys(ENVIRONMENT, "same") | {"platform": machine}
    run = RunDir.create(root, pond.plan("pond", overrides), environment)
    run.write_result("finished", metrics={"loss": 0.5, "train_accuracy": accuracy})
    return run


def test_runs_are_listed_once_each_with_the_newest_last(pond: Registry, tmp_path: Path) -> None:
    first, second = made(pond, tmp_path, 0.5), made(pond, tmp_path, 0.6)
    assert [run.path for run in find_runs(tmp_path)] == [first.path, second.path]
    assert RunSummary.of(first).metrics["train_accuracy"] == 0.5
    with pytest.raises(DataError, match="is not a folder"):
        find_runs(tmp_path / "none")


def test_differences_name_every_field(pond: Registry, tmp_path: Path) -> None:
    first, second = made(pond, tmp_path, 0.5), made(pond, tmp_path, 0.6, seed=7)
    assert sorted(differences(first, second)) == [
        ("plan.recipe.seed", 0, 7),
        ("result.metrics.train_accuracy", 0.5, 0.6),
    ]


@pytest.mark.parametrize(
    ("machine", "accuracy", "passed"),
    [("here", 0.5, True), ("here", 0.501, False), ("there", 0.501, True), ("there", 0.51, False)],
)
def test_a_repetition_is_exact_on_the_same_machine_and_close_on_another(
    pond: Registry, tmp_path: Path, machine: str, accuracy: float, passed: bool
) -> None:
    metrics = compare_metrics(made(pond, tmp_path, 0.5), made(pond, tmp_path, accuracy, machine=machine))
    assert {metric.metric: metric.passed for metric in metrics} == {"loss": True, "train_accuracy": passed}


def test_a_metric_that_was_not_measured_again_does_not_pass(pond: Registry, tmp_path: Path) -> None:
    first, again = made(pond, tmp_path, 0.5), made(pond, tmp_path, 0.5)
    again.write_result("failed")
    assert not any(metric.passed for metric in compare_metrics(first, again))


def test_a_plan_is_only_repeated_with_the_installed_cards(pond: Registry, tmp_path: Path) -> None:
    plan = made(pond, tmp_path, 0.5, seed=3).plan()
    assert pond.plan_again(plan) == plan
    moved = plan.trainer.model_copy(update={"trainer": "os:system"})
    assert pond.plan_again(plan.model_copy(update={"trainer": moved})) == plan  # the installed card's code, always
    foreign = plan.model.model_copy(update={"parameters": 1})
    with pytest.raises(IntegrityError, match="different model"):
        pond.plan_again(plan.model_copy(update={"model": foreign}))


def test_reproduce_and_runs_on_the_command_line(zoo: Zoo, with_pond: Registry) -> None:
    first = json.loads(zoo("run", "pond", "--json").out)["run"]
    reproduced = zoo("reproduce", first, "--json")
    assert reproduced.code == 0, reproduced.err
    assert all(metric["passed"] and metric["tolerance"] == 0 for metric in json.loads(reproduced.out)["metrics"])
    listed = json.loads(zoo("runs", "--json").out)
    assert [(run["status"], run["model"], run["epochs"]) for run in listed] == [("finished", "pond-net", 2)] * 2
    second = json.loads(reproduced.out)["run"]
    fields = [row["field"] for row in json.loads(zoo("runs", first, second, "--json").out)]
    assert fields == ["environment.command"] or fields == []
    assert zoo("runs", "--compare", first).code == 2
    assert zoo("report", first).out.strip().endswith("report.html")


def test_a_metric_that_differs_fails_the_reproduction(zoo: Zoo, with_pond: Registry) -> None:
    first = json.loads(zoo("run", "pond", "--json").out)["run"]
    path = Path(first, "result.json")
    result = json.loads(path.read_text())
    result["metrics"]["loss"] += 1
    path.write_text(json.dumps(result))
    failed = zoo("reproduce", first)
    assert failed.code == 9
    assert "NO MATCH" in failed.out
    assert f"Try: zoo runs {first} " in failed.err


def test_a_changed_plugin_or_processor_is_reported(pond: Registry, tmp_path: Path) -> None:
    here = {**dict.fromkeys(ENVIRONMENT, "same"), "plugins": {"zoo-pond": "1.0"}, "cpu": "A"}
    there = {**here, "plugins": {"zoo-pond": "2.0"}, "cpu": "B"}
    assert environment_diff(here, there) == {"cpu": ("A", "B"), "plugins.zoo-pond": ("1.0", "2.0")}
    first, again = (RunDir.create(tmp_path, pond.plan("pond"), side) for side in (here, there))
    for run in (first, again):
        run.write_result("finished", metrics={"train_accuracy": 0.5})
    assert [metric.tolerance for metric in compare_metrics(first, again)] == [0.005]


def test_what_an_older_version_did_not_record_is_not_a_change() -> None:
    assert environment_diff({"python": "3.11"}, {"python": "3.11", "cpu": "A", "plugins": {"zoo-pond": "1.0"}}) == {}


def test_an_environment_without_plugins_does_not_promise_the_same_bits(pond: Registry, tmp_path: Path) -> None:
    runs = [RunDir.create(tmp_path, pond.plan("pond"), {"python": "3.11"}) for _ in range(2)]
    for run in runs:
        run.write_result("finished", metrics={"loss": 0.5})
    assert [metric.tolerance for metric in compare_metrics(*runs)] == [0.02]


def test_every_run_records_plugins_and_processor(with_pond: Registry, zoo: Zoo) -> None:
    run = RunDir(Path(json.loads(zoo("run", "pond", "--json").out)["run"]))
    environment = run.read_json("environment.json")
    assert set(ENVIRONMENT) <= set(environment)
    assert environment["plugins"]["zoo-fashion-cnn"] == version("zoo-fashion-cnn")
    assert environment["cpu"]
    assert environment["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


def test_any_number_of_runs_is_compared(zoo: Zoo, pond: Registry, tmp_path: Path) -> None:
    runs = [made(pond, tmp_path, accuracy, seed=seed) for seed, accuracy in enumerate((0.5, 0.6, 0.5))]
    said = zoo("runs", *(run.path for run in runs), "--json")
    assert said.code == 0
    rows = {row["field"]: row["values"] for row in json.loads(said.out)}
    assert rows == {"plan.recipe.seed": [0, 1, 2], "result.metrics.train_accuracy": [0.5, 0.6, 0.5]}
    assert zoo("runs", runs[0].path, runs[0].path).err.strip() == "The runs are identical."


def test_a_list_shows_kills_pipes_and_escapes_safely(zoo: Zoo, pond: Registry, tmp_path: Path) -> None:
    killed, piped, hostile = (RunDir.create(tmp_path / "runs", pond.plan("pond"), {}) for _ in range(3))
    killed.record(EpochResult(1, 2, {"loss": 1.0}, 7.0))
    (piped.path / "result.json").unlink()
    os.mkfifo(piped.path / "result.json")
    (hostile.path / "result.json").write_text(json.dumps({"schema": 1, "status": "\x1b]0;PWNED\x07"}))
    said = zoo("runs")
    assert said.code == 0
    header, *rows = (line.split() for line in said.out.splitlines())
    assert " ".join(header) == "run status data model recipe trainer weights lr seed epoch duration"
    assert " ".join(rows[0][1:]) == "killed pond.drawn pond-net pond supervised none 0.001 0 1/2 7.0 s"
    assert rows[1][1] == "damaged"
    assert "\x1b" not in said.out


@pytest.mark.parametrize(("status", "resumed"), [("failed", False), ("interrupted", True), ("running", True)])
def test_auto_resumes_only_what_was_interrupted_or_killed(
    pond: Registry, tmp_path: Path, status: Literal["failed", "interrupted", "running"], resumed: bool
) -> None:
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    run.write_result(status, reason="Diverged: the loss is nan")
    assert find_resumable("auto", tmp_path, "pond") == (run if resumed else None)
    assert find_resumable(str(run.path), tmp_path, None) == run


def test_auto_leaves_a_run_alone_that_is_still_training(pond: Registry, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    with run.locked():
        assert find_resumable("auto", tmp_path, None) is None


def test_a_damaged_run_is_listed_with_the_others(pond: Registry, tmp_path: Path) -> None:
    whole, damaged = (RunDir.create(tmp_path, pond.plan("pond"), {}) for _ in range(2))
    (damaged.path / "result.json").write_text("{")
    assert [RunSummary.listed(run).status for run in (whole, damaged)] == ["interrupted", "damaged"]
    assert find_resumable("auto", tmp_path, None) == whole


def test_a_published_metric_below_chance_is_not_comparable(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, pond: Registry
) -> None:
    reference = RecipeReference(section="p", metrics={"train_accuracy": ReferenceMetric(at_least=0.1)})
    recipe = pond.recipes["pond"].model_copy(update={"reference": reference})
    published = replace(pond, tables={**pond.tables, "recipes": {"pond": recipe}})
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): published)
    said = zoo("run", "pond", "--strict", "--json")
    assert said.code == 0, said.err
    (comparison,) = json.loads(said.out)["reference"]
    assert (comparison["verdict"], comparison["passed"]) == ("not comparable", False)
    assert 1 / 3 <= comparison["chance"] < 1
    assert "not comparable" in (Path(json.loads(said.out)["run"]) / "report.html").read_text()
