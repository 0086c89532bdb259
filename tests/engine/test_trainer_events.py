"""A plugin's trainer that fails, refuses, diverges or yields nonsense is reported as such."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo_pond

from zoo_core import Diverged, EpochResult, Event, Job, PluginError, Progress, Registry, Store, UsageError, hookimpl
from zoo_core.engine.training.run import execute
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.registry import load_registry


class Trainer:
    def fit(self, job: Job, resume: Any = None) -> Iterator[Event]:
        yield Progress("epoch 1", 1, 1)
        yield EpochResult(1, 1, {"loss": 1.0}, 0.0)


class Raises(Trainer):
    def fit(self, job: Job, resume: Any = None) -> Iterator[Event]:
        yield from super().fit(job)
        raise KeyError("npy")


class Refuses(Trainer):
    def fit(self, job: Job, resume: Any = None) -> Iterator[Event]:
        if job.plan.recipe.epochs > 0:
            raise UsageError("not these images")
        yield from super().fit(job)


class Nan(Trainer):
    def fit(self, job: Job, resume: Any = None) -> Iterator[Event]:
        yield EpochResult(1, 1, {"loss": float("nan")}, 0.0)


class Text(Trainer):
    def fit(self, job: Job, resume: Any = None) -> Iterator[Event]:
        yield EpochResult(1, 1, {"loss": "low"}, 0.0)  # type: ignore[dict-item]


class Dicts(Trainer):
    def fit(self, job: Job, resume: Any = None) -> Iterator[Any]:
        yield {"loss": 1.0}


class Nothing:
    def fit(self, job: Job, resume: Any = None) -> None:
        return None


class FirstStepDiverges(Trainer):
    def fit(self, job: Job, resume: Any = None) -> Iterator[Event]:
        if job.plan.recipe.epochs > 0:
            raise Diverged("the loss is nan")
        yield from super().fit(job)


def load_broken(files: object, split: str) -> object:
    return {}["npy"]


def build_broken(num_classes: int) -> torch.nn.Module:
    raise KeyError(num_classes)


def registry_with(trainer: str = "Trainer", *, loader: str = "", builder: str = "") -> Registry:
    class Plugin:
        @hookimpl
        def zoo_trainers(self) -> list[Any]:
            card = zoo_pond.zoo_trainers()[0]
            return [card.model_copy(update={"trainer": f"{__name__}:{trainer}", "settings": "zoo_core:FrozenModel"})]

        @hookimpl
        def zoo_models(self) -> list[Any]:
            card = zoo_pond.zoo_models()[0]
            return [card.model_copy(update={"builder": f"{__name__}:{builder}"} if builder else {})]

        @hookimpl
        def zoo_datasets(self) -> list[Any]:
            card = zoo_pond.zoo_datasets()[0]
            return [card.model_copy(update={"loader": f"{__name__}:{loader}"} if loader else {})]

        @hookimpl
        def zoo_recipes(self) -> list[Any]:
            return zoo_pond.zoo_recipes()[2:]

    manager = new_manager()
    manager.register(Plugin(), name="zoo-someone 1")
    return load_registry(manager=manager)


def start(registry: Registry, tmp_path: Path) -> Any:
    return execute(registry.plan("pond-patient"), store=Store(tmp_path / "store"), out=tmp_path / "runs")


def reasons(tmp_path: Path) -> list[str]:
    results = (tmp_path / "runs").glob("*/2*/result.json")
    return [json.loads(path.read_text())["reason"] for path in results]


@pytest.mark.parametrize(
    ("trainer", "error", "message"),
    [
        ("Raises", PluginError, "raised KeyError\n'npy'\nat "),
        ("Nan", Diverged, "loss is nan after epoch 1"),
        ("Text", PluginError, "the metric 'loss' is a str, not a number"),
        ("Dicts", PluginError, "fit yielded dict, not Progress, EpochResult or Checkpoint"),
        ("Nothing", PluginError, "fit returned NoneType, not an iterator of events"),
        ("FirstStepDiverges", Diverged, "the loss is nan"),
    ],
)
def test_a_failing_trainer_is_reported_and_its_run_says_so(
    trainer: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        start(registry_with(trainer), tmp_path)
    assert message in str(raised.value)
    assert len(reasons(tmp_path)) == 1


def test_the_authors_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=r"at .*test_trainer_events\.py:\d+: please report this to the plugin's author"
    ):
        start(registry_with("Raises"), tmp_path)


@pytest.mark.parametrize("broken", [{"loader": "load_broken"}, {"builder": "build_broken"}])
def test_a_failing_loader_or_builder_is_reported_as_the_plugins(broken: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="raised KeyError"):
        start(registry_with(**broken), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_refused_run_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not these images"):
        start(registry_with("Refuses"), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_freezing_everything_leaves_no_directory(pond: Registry, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leaves nothing to train"):
        execute(pond.plan("pond", {"settings.freeze_until": "fc.bias"}), store=store, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_only_the_last_epochs_predictions_stay_in_memory(pond: Registry, store: Store, tmp_path: Path) -> None:
    seen: list[EpochResult] = []
    alive: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, EpochResult):
            seen.append(event)

    import zoo_core.engine.training.finish as finish_module

    original = finish_module._final_metrics

    def final(epochs: list[EpochResult], *rest: Any) -> dict[str, float]:
        alive.append(sum(epoch.predictions is not None for epoch in epochs))
        return original(epochs, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish_module, "_final_metrics", final)
        execute(pond.plan("pond", {"epochs": 3}), store=store, out=tmp_path, on_event=count)
    assert (len(seen), alive) == (3, [1])


def test_a_second_run_at_the_same_time_is_refused(pond: Registry, store: Store, tmp_path: Path) -> None:
    refused: list[Exception] = []

    def second() -> None:
        try:
            execute(pond.plan("pond"), store=store, out=tmp_path / "second")
        except UsageError as error:
            refused.append(error)

    def start_another(event: Event) -> None:
        if isinstance(event, EpochResult) and not refused:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    execute(pond.plan("pond"), store=store, out=tmp_path / "first", on_event=start_another)
    assert "another run is in progress in this process" in str(refused[0])
    assert not (tmp_path / "second").exists()
    execute(pond.plan("pond"), store=store, out=tmp_path / "third")  # the lock is released
