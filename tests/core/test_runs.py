"""Lists of runs, their differences, and a run held against its repetition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo_core import DataError, IntegrityError, Registry
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import ENVIRONMENT, Summary, compare_metrics, differences, find_resumable, find_runs


def made(pond: Registry, root: Path, accuracy: float, *, machine: str = "here", **overrides: object) -> RunDir:
    environment = dict.fromkeys(ENVIRONMENT, "same") | {"platform": machine}
    run = RunDir.create(root, pond.plan("pond", overrides), environment)
    run.write_result("finished", metrics={"loss": 0.5, "train_accuracy": accuracy})
    return run


def test_runs_are_found_the_newest_last_and_none_twice(pond: Registry, tmp_path: Path) -> None:
    first, second = made(pond, tmp_path, 0.5), made(pond, tmp_path, 0.6)
    assert [run.path for run in find_runs(tmp_path)] == [first.path, second.path]
    assert Summary.of(first).metrics["train_accuracy"] == 0.5
    with pytest.raises(DataError, match="is not a folder"):
        find_runs(tmp_path / "none")


def test_differences_name_every_field(pond: Registry, tmp_path: Path) -> None:
    found = list(differences(made(pond, tmp_path, 0.5), made(pond, tmp_path, 0.6, seed=7)))
    assert ("plan.recipe.seed", 0, 7) in found
    assert ("result.metrics.train_accuracy", 0.5, 0.6) in found
    assert len(found) == 2


@pytest.mark.parametrize(
    ("machine", "accuracy", "held"),
    [("here", 0.5, True), ("here", 0.501, False), ("there", 0.501, True), ("there", 0.51, False)],
)
def test_the_same_machine_gives_the_same_bits_and_another_nearly(
    pond: Registry, tmp_path: Path, machine: str, accuracy: float, held: bool
) -> None:
    found = compare_metrics(made(pond, tmp_path, 0.5), made(pond, tmp_path, accuracy, machine=machine))
    assert {one.metric: one.passed for one in found} == {"loss": True, "train_accuracy": held}


def test_what_was_not_measured_again_does_not_hold(pond: Registry, tmp_path: Path) -> None:
    first, again = made(pond, tmp_path, 0.5), made(pond, tmp_path, 0.5)
    again.write_result("failed")
    assert not any(one.passed for one in compare_metrics(first, again))


def test_a_plan_is_carried_out_again_only_with_the_cards_that_are_installed(pond: Registry, tmp_path: Path) -> None:
    plan = made(pond, tmp_path, 0.5, seed=3).plan()
    assert pond.plan_again(plan) == plan
    moved = plan.trainer.model_copy(update={"trainer": "os:system"})
    assert pond.plan_again(plan.model_copy(update={"trainer": moved})) == plan  # the installed card's code, always
    foreign = plan.model.model_copy(update={"parameters": 1})
    with pytest.raises(IntegrityError, match="another model"):
        pond.plan_again(plan.model_copy(update={"model": foreign}))


def test_reproduce_and_runs_on_the_command_line(zoo: object, with_pond: Registry, tmp_path: Path) -> None:
    told = json.loads(zoo("run", "pond", "--json").out)  # type: ignore[operator]
    again = zoo("reproduce", told["run"], "--json")  # type: ignore[operator]
    assert again.code == 0, again.err
    assert all(one["passed"] and one["tolerance"] == 0 for one in json.loads(again.out)["metrics"])
    listed = json.loads(zoo("runs", "--json").out)  # type: ignore[operator]
    assert [one["status"] for one in listed] == ["finished", "finished"]
    second = json.loads(again.out)["run"]
    fields = [one["field"] for one in json.loads(zoo("runs", told["run"], second, "--json").out)]  # type: ignore[operator]
    assert fields == ["environment.command"] or fields == []
    assert zoo("runs", told["run"]).code == 2  # type: ignore[operator]
    path = Path(told["run"], "result.json")
    result = json.loads(path.read_text())
    result["metrics"]["loss"] += 1
    path.write_text(json.dumps(result))
    failed = zoo("reproduce", told["run"])  # type: ignore[operator]
    assert failed.code == 9
    assert "NO" in failed.out
    assert zoo("report", told["run"]).out.strip().endswith("report.html")  # type: ignore[operator]


def test_a_damaged_run_is_listed_as_such_beside_the_others(pond: Registry, tmp_path: Path) -> None:
    whole, damaged = (RunDir.create(tmp_path, pond.plan("pond"), {}) for _ in range(2))
    (damaged.path / "result.json").write_text("{")
    assert [Summary.listed(run).status for run in (whole, damaged)] == ["interrupted", "damaged"]
    assert find_resumable("auto", tmp_path, None) == whole
