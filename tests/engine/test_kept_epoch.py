"""`keep`, `monitor` and `patience`: a run is that of its best epoch, and resumes bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from zoo_core import EpochResult, IntegrityError, PluginError, Recipe, Registry, RunResult, Store, UsageError, evaluate
from zoo_core.engine.training.monitor import Monitor
from zoo_core.engine.training.run import execute
from zoo_core.events import Resumed, Saved
from zoo_core.metrics import MetricKind
from zoo_core.runs.directory import RunDir

OUTPUTS = ("weights.safetensors", "predictions.csv", "test-predictions.csv", "mistakes.json")
BEST = {"epochs": 4, "keep": "best", "monitor": "validation_accuracy"}
PATIENT: dict[str, Any] = {**BEST, "epochs": 9, "patience": 2}
RECIPE = Recipe(name="r", summary="s", model="m", dataset="d", epochs=9, batch_size=3, keep="best")


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing charts takes longer than training."""
    monkeypatch.setattr("zoo_core.engine.training.run.write_report", lambda run: None)


def monitor(metric: str, patience: int | None = None) -> Monitor:
    return Monitor("r", metric, "best", patience)


def epochs(metric: str, *values: float, kinds: Mapping[str, MetricKind] | None = None) -> list[EpochResult]:
    return [EpochResult(number, 9, {metric: value}, 1.0, None, kinds or {}) for number, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("validation_accuracy", (0.5, 0.9, 0.9, 0.7), 2),  # the first of equals
        ("validation_accuracy", (0.5,), 1),
        ("validation_macro_f1", (0.1, 0.2, 0.3), 3),
        ("validation_loss", (0.9, 0.3, 0.3, 0.4), 2),
        ("loss", (0.3, 0.4, 0.5), 1),
        ("validation_calibration_error", (0.2, 0.1, 0.3), 2),
    ],
)
def test_the_best_epoch(metric: str, values: tuple[float, ...], best: int) -> None:
    assert monitor(metric).best(epochs(metric, *values)) == best - 1


@pytest.mark.parametrize(("kind", "best"), [("fraction", 2), ("loss", 3)])
def test_the_kind_that_a_trainer_declares_decides(kind: MetricKind, best: int) -> None:
    assert monitor("agreement").best(epochs("agreement", 0.5, 0.9, 0.1, kinds={"agreement": kind})) == best - 1


def test_patience_counts_epochs_since_the_best() -> None:
    values = (0.5, 0.6, 0.6, 0.6, 0.7)
    stops = [
        monitor("validation_accuracy", 3).is_exhausted(epochs("validation_accuracy", *values[:n])) for n in (3, 4, 5)
    ]
    assert stops == [False, False, False]
    stops = [monitor("validation_accuracy", 2).is_exhausted(epochs("validation_accuracy", *values[:n])) for n in (3, 4)]
    assert stops == [False, True]
    assert not monitor("validation_accuracy").is_exhausted(epochs("validation_accuracy", *[0.5] * 9))


def test_a_metric_that_is_not_measured_is_refused_before_training(pond: Registry, store: Store, tmp_path: Path) -> None:
    for recipe in ("pond", "pond-features"):
        for field in ({"keep": "best"}, {"patience": 1}):
            with pytest.raises(UsageError, match="there is no metric 'validation_acc' to compare epochs by") as raised:
                run(pond, store, tmp_path, recipe, {**field, "monitor": "validation_acc"})
            assert raised.value.fix == f"zoo run {recipe} --set monitor=validation_accuracy"
    assert list(tmp_path.iterdir()) == []
    run(pond, store, tmp_path, "pond", {"monitor": "validation_acc", "epochs": 1})  # nothing depends on it


def test_a_metric_that_a_trainer_never_reports_is_refused_after_an_epoch(
    pond: Registry, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="there is no metric 'validation_accuracy'"):
        run(pond, store, tmp_path, "pond-patient", {"keep": "best"})
    (path,) = (path for path in (tmp_path / "pond-patient").iterdir() if not path.is_symlink())
    assert RunDir(path).status == "failed"
    assert RunDir(path).read_metrics() == []


def test_a_plain_number_is_refused() -> None:
    monitor("steps").check(epochs("steps", 1.0, kinds={"steps": "fraction"})[0])
    with pytest.raises(UsageError, match="epochs cannot be compared by steps"):
        monitor("steps").check(epochs("steps", 1.0)[0])


def run(pond: Registry, store: Store, out: Path, recipe: str, fields: Mapping[str, Any], **more: Any) -> RunResult:
    return execute(pond.plan(recipe, fields), store=store, out=out, **more)


def outputs(result: RunResult) -> dict[str, bytes]:
    paths = {name: result.directory / name for name in OUTPUTS}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def metrics_of(path: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in RunDir(path).read_metrics()]


@pytest.mark.parametrize(
    ("recipe", "fields"),
    [
        ("pond", {}),
        ("pond-features", {"patience": 2}),  # an early stop puts the head back in its place
        ("pond-patient", {"epochs": 6, "monitor": "loss", "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9}}),
    ],
)
def test_a_run_is_that_of_its_best_epoch(
    pond: Registry, store: Store, tmp_path: Path, recipe: str, fields: dict[str, Any]
) -> None:
    """Training is the same with fewer epochs, so it must end as a run that stops after the best one."""
    best = run(pond, store, tmp_path / "best", recipe, {**BEST, **fields})
    assert best.kept is not None
    planned = best.history[-1]["epoch"]
    assert best.kept.epoch < planned, "the test needs a best epoch before the last"
    short = run(pond, store, tmp_path / "short", recipe, {**fields, "epochs": best.kept.epoch})
    assert outputs(best) == outputs(short)
    assert best.metrics == short.metrics
    last = run(pond, store, tmp_path / "last", recipe, {**fields, "epochs": planned})
    assert outputs(last)["weights.safetensors"] != outputs(best)["weights.safetensors"]
    assert last.kept is not None
    assert (last.kept.epoch, last.kept.by) == (planned, "")
    assert not (best.directory / "best").exists()


def test_patience_ends_a_run_as_finished(pond: Registry, store: Store, tmp_path: Path) -> None:
    patient = {**BEST, "epochs": 50, "patience": 1}
    result = run(pond, store, tmp_path, "pond", patient)
    assert result.kept is not None
    assert len(result.history) == result.kept.trained == result.kept.epoch + 1
    document = RunDir(result.directory).read_json("result.json")
    assert document["status"] == "finished"
    assert document["reason"] == (
        f"stopped after epoch {result.kept.trained} of 50: no better validation accuracy for 1 epoch"
    )
    assert document["kept"]["epoch"] == result.kept.epoch
    last = run(pond, store, tmp_path / "last", "pond", {**patient, "keep": "last"})
    assert last.kept is not None
    assert (last.kept.epoch, last.kept.by) == (result.kept.trained, "")
    assert last.metrics["validation_loss"] == last.history[-1]["validation_loss"]


class Killed(BaseException):
    """Ends a run like a kill: nothing catches it."""


def die_after(checkpoints: int) -> Any:
    left = checkpoints

    def die(event: object) -> None:
        nonlocal left
        left -= isinstance(event, Saved)
        if left == 0:
            raise Killed

    return die


def killed(pond: Registry, store: Store, out: Path, recipe: str, fields: Mapping[str, Any], after: int) -> RunDir:
    with pytest.raises(Killed):
        run(pond, store, out, recipe, fields, on_event=die_after(after), checkpoint_every=0)
    (path,) = (path for path in (out / recipe).iterdir() if not path.is_symlink())
    return RunDir.open(path)


@pytest.fixture(scope="module")
def straight(pond: Registry, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """An uninterrupted run that stops early."""
    root = tmp_path_factory.mktemp("straight")
    return run(pond, Store(root / "store"), root / "runs", "pond", PATIENT)


@pytest.mark.parametrize("after", [25, *(pytest.param(after, marks=pytest.mark.slow) for after in (3, 40))])
def test_a_killed_run_keeps_the_same_epoch(
    pond: Registry, store: Store, tmp_path: Path, straight: RunResult, after: int
) -> None:
    """Patience and the best so far are restored, whatever the killed process had saved beyond its last checkpoint."""
    assert straight.kept is not None
    assert 1 < straight.kept.epoch < straight.kept.trained < PATIENT["epochs"]
    unfinished = killed(pond, store, tmp_path, "pond", PATIENT, after)
    resumed = execute(pond.plan_again(unfinished.plan()), store=store, resume=unfinished, checkpoint_every=0)
    assert outputs(resumed) == outputs(straight)
    assert metrics_of(resumed.directory) == metrics_of(straight.directory)
    assert (resumed.kept, resumed.metrics) == (straight.kept, straight.metrics)
    assert not (resumed.directory / "best").exists()


def test_epochs_are_deleted_when_no_checkpoint_needs_them(pond: Registry, store: Store, tmp_path: Path) -> None:
    fields = {**BEST, "monitor": "loss", "epochs": 4}  # better after every epoch
    unfinished = killed(pond, store, tmp_path, "pond", fields, 30)
    finished = {int(name.partition("-")[0]) for name in unfinished.checkpoints.names()}
    assert {int(name.partition("-")[0]) for name in unfinished.best.names()} == finished | {3} - {0}


def test_a_damaged_best_epoch_is_trained_again(
    pond: Registry, store: Store, tmp_path: Path, straight: RunResult
) -> None:
    unfinished = killed(pond, store, tmp_path, "pond", PATIENT, 25)
    for name in unfinished.best.names():
        (unfinished.best.folder / name / "weights.safetensors").write_bytes(b"spoilt")
    with pytest.raises(IntegrityError, match="checksum mismatch"):
        unfinished.best.read(unfinished.best.names()[0])
    seen: list[object] = []
    resumed = execute(pond.plan_again(unfinished.plan()), store=store, resume=unfinished, on_event=seen.append)
    (event,) = (event for event in seen if isinstance(event, Resumed))
    assert (event.epoch, event.step) == (0, 0)
    assert event.damaged
    assert outputs(resumed) == outputs(straight)


def test_a_trainer_that_takes_the_model_apart_is_reported(
    pond: Registry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn
    from zoo_pond.trainer import Patient

    fit = Patient.fit

    def headless(self: Patient, job: Any, resume: Any = None) -> Any:
        for event in fit(self, job, resume):
            if isinstance(event, EpochResult):
                job.model.fc = nn.Identity()
            yield event

    monkeypatch.setattr(Patient, "fit", headless)
    with pytest.raises(PluginError, match="the trainer patient is invalid"):
        run(pond, store, tmp_path, "pond-patient", {**BEST, "monitor": "loss"})


def test_the_result_names_counts_and_intervals(pond: Registry, store: Store, tmp_path: Path) -> None:
    result = run(pond, store, tmp_path, "pond", {"epochs": 1})
    document = json.loads((result.directory / "result.json").read_text())
    assert document["splits"]["validation"] == {
        "images": 24,
        "classes": {"ducks": 8, "frogs": 8, "newts": 8},
        "majority": pytest.approx(1 / 3),
    }
    assert document["intervals"].keys() == {"validation_accuracy", "test_accuracy"}
    low, high = document["intervals"]["test_accuracy"]
    assert low <= document["metrics"]["test_accuracy"] <= high
    assert result.to_dict()["intervals"] == {k: tuple(v) for k, v in document["intervals"].items()}


def test_the_epoch_that_fits_the_head_can_be_kept(pond: Registry, store: Store, tmp_path: Path) -> None:
    fields = {"trainer": "finetune", "keep": "best", "settings": {"allow_random": True}, "epochs": 3}
    result = run(pond, store, tmp_path, "pond", fields)
    best = max(epoch["validation_accuracy"] for epoch in result.history)
    assert result.metrics["validation_accuracy"] == best
    assert evaluate(result.directory, split="validation", registry=pond, store=store).accuracy == best
