"""`zoo tune`: what decides, what is kept after a kill, what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo_core as zoo_module
from tests.conftest import Zoo
from tests.engine.test_logistic_head import CPU, clusters
from zoo_core import DataError, IntegrityError, Job, Registry, Store, Trial, Tuning, UsageError
from zoo_core.engine.training.features import Features
from zoo_core.engine.training.folds import assign_folds
from zoo_core.engine.training.logistic import PrincipalRows, Solution, Standardization, solve
from zoo_core.engine.tuning.fold_scores import FOLDS, FoldScores, HeadScorer, in_memory
from zoo_core.engine.tuning.joint_folds import held_out_logits
from zoo_core.engine.tuning.search import Budget
from zoo_core.engine.tuning.space import SearchSpace
from zoo_core.engine.tuning.study import opened_study
from zoo_core.registry.registry_file import override
from zoo_core.runs.tuning import Gain

RANDOM = {"weights": None, "settings.allow_random": True, "model": "pond-net"}


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up which distribution a package belongs to reads every installed distribution, for every key."""
    monkeypatch.setattr("zoo_core.engine.training.feature_key.owner_of", lambda package: package)


def tuned(pond: Registry, photos: Path, store: Store, **options: Any) -> Tuning:
    fields = {"recipe": "transfer", "data": photos, "overrides": RANDOM} if "resume" not in options else {}
    return zoo_module.tune(**fields, registry=pond, store=store, progress=False, **options)


def test_a_search_ends_with_a_run_that_predicts(
    pond: Registry, with_pond: Registry, photos: Path, zoo: Zoo, tmp_path: Path
) -> None:
    chosen = [f"--set={key}={json.dumps(value) if key != 'model' else value}" for key, value in RANDOM.items()]
    said = zoo("tune", "transfer", "--data", photos, "--trials", 5, "--json", *chosen)
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert document["trials"] == 5
    plan = json.loads((Path(document["run"]) / "plan.json").read_text())
    assert document["images"] == plan["dataset"]["editions"][0]["examples"]["train"]  # and no others
    assert document["default"]["overrides"] == {}
    run, directory = Path(document["run"]), Path(document["directory"])
    assert zoo("predict", run, photos / "ducks" / "0.png").code == 0
    rows = list(csv.DictReader(io.StringIO((directory / "trials.csv").read_text())))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert "<svg" in (directory / "report.html").read_text()
    assert document["command"].startswith("zoo run transfer --data")
    assert zoo("runs").out.count("finished") == 1  # the search itself is not a run


@pytest.mark.slow
def test_a_killed_search_continues_as_if_never_stopped(
    pond: Registry, photos: Path, store: Store, tmp_path: Path
) -> None:
    whole = tuned(pond, photos, store, trials=4, out=tmp_path / "whole")
    part = tuned(pond, photos, store, trials=2, out=tmp_path / "part")
    continued = tuned(pond, photos, store, trials=4, resume=part.directory, out=tmp_path / "part")
    assert [(one.overrides, one.losses) for one in continued.trials] == [
        (one.overrides, one.losses) for one in whole.trials
    ]
    assert continued.directory == part.directory


KILLED = """
import sys, zoo_pond
from pathlib import Path
import zoo_core as zoo
from zoo_core.registry.discovery import new_manager
manager = new_manager(); manager.register(zoo_pond, name="zoo-pond 1.2.3")
overrides = {"weights": None, "settings.allow_random": True, "model": "pond-net"}
registry, store = zoo.load_registry(manager=manager), zoo.Store(Path(sys.argv[2]))
zoo.tune("transfer", data=sys.argv[1], overrides=overrides, registry=registry, store=store, out=sys.argv[3])
"""


@pytest.mark.slow
def test_kill_9_loses_no_completed_trial(pond: Registry, photos: Path, store: Store, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "fakes" / "zoo-pond")}
    command = [sys.executable, "-c", KILLED, str(photos), str(store.root), str(tmp_path / "runs")]
    process = subprocess.Popen(command, env=environment)
    try:
        while not (found := list(tmp_path.glob("runs/photos/tune/*/study.sqlite"))):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(3.0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    continued = tuned(pond, photos, store, trials=6, resume=found[0].parent, out=tmp_path / "runs")
    whole = tuned(pond, photos, store, trials=len(continued.trials), out=tmp_path / "whole")
    assert [one.losses for one in continued.trials] == [one.losses for one in whole.trials]
    assert continued.run is not None


def test_what_cannot_be_tuned_is_refused(pond: Registry, photos: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pond cannot be tuned") as raised:
        zoo_module.tune("pond", registry=pond, store=store)
    assert "its trainer is supervised" in raised.value.why
    with pytest.raises(UsageError, match="no recipe"):
        zoo_module.tune(registry=pond, store=store)
    with pytest.raises(UsageError, match="no model named 'nothing'"):
        tuned(pond, photos, store, models=["nothing"])
    with pytest.raises(DataError, match="is not the directory of a search"):
        zoo_module.tune(resume=tmp_path, registry=pond, store=store)
    assert not (tmp_path / "runs").exists()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, pond: Registry, photos: Path, store: Store) -> None:
    monkeypatch.setattr("zoo_core.engine.tuning.study.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="optuna is not installed") as raised:
        tuned(pond, photos, store)
    assert raised.value.fix == "pip install 'zoo-core[tune]'"


def test_other_images_or_fields_cannot_continue_a_search(
    pond: Registry, photos: Path, store: Store, tmp_path: Path
) -> None:
    search = tuned(pond, photos, store, trials=1, out=tmp_path / "runs")
    with pytest.raises(UsageError, match="keeps its recipe, data and fields"):
        tuned(pond, photos, store, trials=2, resume=search.directory, seed=1)
    for path in photos.rglob("1*.png"):
        path.write_bytes((photos / path.parent.name / "2.png").read_bytes() + b" " * int(path.stem))
    with pytest.raises(IntegrityError, match="have changed"):
        tuned(pond, photos, store, trials=2, resume=search.directory)


def test_trials_of_another_search_space_are_not_continued(
    pond: Registry, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace(pond.plan("transfer", RANDOM, data=photos).recipe, ("pond-net", "other"))
    with opened_study(tmp_path) as study:
        trial, overrides = study.ask(space, seed=0, completed=1)
        study.tell(trial, overrides, FoldScores((0.1,), (0.9,)), 1.0, "loss")
        with pytest.raises(IntegrityError, match="cannot be continued"):
            study.ask(replace(space, models=("pond-net", "third")), seed=0, completed=2)


def test_a_study_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "study.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DataError, match="cannot be read"), opened_study(tmp_path):
        pass


def test_folds_fitted_together_are_those_fitted_alone() -> None:
    rows, labels = clusters(count=60, width=80)
    principal = PrincipalRows.of(Standardization.of(rows).apply(rows))
    assigned, weights = assign_folds(labels, 3, 0), torch.ones(60, dtype=torch.float64)
    folds = torch.stack([assigned == fold for fold in range(3)])
    together = list(held_out_logits(principal, labels, weights, folds, [10.0, 0.1]))
    for held, logits in zip(folds, together[1], strict=True):
        kept = principal.rows[~held], labels[~held], weights[~held], principal.variance
        alone = solve(*kept, strength=0.1, start=Solution.zero(3, principal.rows.shape[1]))
        assert torch.allclose(logits, alone.logits(principal.rows), atol=0.02)


def trial(number: int, losses: tuple[float, ...], accuracy: float = 0.9) -> Trial:
    return Trial(number, {"balance": float(number)} if number else {}, losses, (accuracy,) * len(losses), 0.1)


def tuning(*trials: Trial) -> Tuning:
    return Tuning("transfer", Path("/photos"), {}, "loss", 5, 100, trials)


def test_luck_does_not_replace_the_default() -> None:
    default = trial(0, (0.30, 0.32, 0.28, 0.31, 0.29))
    lucky = trial(1, (0.10, 0.52, 0.08, 0.51, 0.27))  # better on average, by less than its error
    worse = trial(2, (0.25, 0.27, 0.23, 0.26, 0.24), accuracy=0.8)
    better = trial(3, (0.28, 0.30, 0.26, 0.29, 0.27))
    assert tuning(default, lucky, worse).chosen is default
    assert tuning(default, lucky, worse, better).chosen is better
    assert tuning(default, better).command == "zoo run transfer --data /photos --set balance=3.0"
    gain = Gain.of((0.1, 0.3), (0.2, 0.2), folds=5)
    assert gain.mean == pytest.approx(0.0)
    assert gain.error == pytest.approx((0.02 * (1 / 2 + 1 / 4)) ** 0.5)


def test_a_budget_ends_before_its_time_is_over() -> None:
    slow = replace(trial(0, (0.1,)), seconds=40.0)
    budget = Budget(60.0)
    assert budget.allows([], reserve=100.0)  # the default is always measured
    assert budget.allows([slow], reserve=10.0)
    assert not budget.allows([slow], reserve=30.0)
    assert not Budget(60.0, trials=1).allows([slow], reserve=0.0)


def test_large_sets_are_searched_on_a_sample(pond: Registry, store: Store) -> None:
    rows, labels = clusters(count=60)
    features = Features(rows, labels, tuple(map(str, range(60))))
    sample = in_memory(features, 20, seed=0)
    assert len(sample.labels) == 20
    assert torch.equal(sample.rows, rows[[int(name) for name in sample.names]])
    plan = pond.plan("pond-features", {"trainer": "logistic-head"})
    scorer = HeadScorer(features, Job(torch.nn.Identity(), None, None, plan, store, CPU))  # type: ignore[arg-type]
    hidden = {"trainer": "frozen-features", "head_units": 8, "epochs": 3, "optimizer.lr": 0.01}
    for overrides in ({}, {"balance": 1.0}, {"settings.standardize": True}, hidden):
        scores = scorer.score(override(plan.recipe, overrides))
        assert len(scores.losses) == len(scores.accuracies) == 2 * FOLDS
        assert sum(scores.accuracies) / len(scores.accuracies) > 0.4
