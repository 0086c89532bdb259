"""A resumed run equals an uninterrupted one bit for bit: weights, metrics and the order of examples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from tests.engine.recorded_examples import RecordedExamples
from zoo_core import (
    Checkpoint,
    Diverged,
    EpochResult,
    IntegrityError,
    Progress,
    Recipe,
    Registry,
    ResourceError,
    Store,
    UsageError,
)
from zoo_core.engine.compute.distributed import SINGLE_PROCESS
from zoo_core.engine.compute.memory import translate_oom
from zoo_core.engine.compute.precision import FLOAT32, Precision
from zoo_core.engine.models.build import state_hash
from zoo_core.engine.training.checkpointing import CheckpointManager, from_files, to_files
from zoo_core.engine.training.interrupts import InterruptFlag
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.engine.training.run import execute
from zoo_core.events import Resumed, Saved, TrainState
from zoo_core.recipes.settings import SGD, Adam, AdamW
from zoo_core.runs.directory import RunDir

CPU = torch.device("cpu")
STEPS = 5  # in an epoch
RECIPE = Recipe(name="r", summary="s", model="m", dataset="d", epochs=3, batch_size=3)
OPTIMIZERS = {
    "adam": Adam(lr=0.01),
    "adamw": AdamW(name="adamw"),
    "sgd": SGD(name="sgd", lr=0.1, momentum=0.9, nesterov=True),
}
PRECISIONS = {"default": FLOAT32, "fast": Precision(), "bfloat16": Precision(torch.bfloat16)}


def network() -> nn.Module:
    """Everything with a state: convolutions with a memory format, running statistics, and dropout."""
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2))


def loop(model: nn.Module, optimizer: str, precision: str) -> TrainingLoop:
    """A loop whose checkpoints are always due."""
    recipe = RECIPE.model_copy(update={"optimizer": OPTIMIZERS[optimizer]})
    return TrainingLoop(model, recipe, CPU, PRECISIONS[precision], due=lambda: True)


@dataclass
class Outcome:
    """The result of a training."""

    model: nn.Module
    seen: list[tuple[int, int]]
    metrics: list[dict[str, float]]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Outcome)
        mine, theirs = (state_hash(one.model) for one in (self, other))
        return (mine, self.seen, self.metrics) == (theirs, other.seen, other.metrics)


@cache
def through(optimizer: str, precision: str) -> Outcome:
    examples, model = RecordedExamples(), network()
    events = list(loop(model, optimizer, precision).train(examples, {}))
    return Outcome(model, examples.seen, [dict(e.metrics) for e in events if isinstance(e, EpochResult)])


def images_until(state: TrainState | None) -> int:
    return 14 * state.epoch + min(14, 3 * state.step) if state else 0


def with_kills(kills: list[int], optimizer: str, precision: str) -> Outcome:
    """Train, and stop each attempt after a number of checkpoints; each starts with a new network."""
    seen: list[tuple[int, int]] = []
    metrics: dict[int, dict[str, float]] = {}
    state: TrainState | None = None
    for kill in [*kills, 10**6]:
        model, examples = network(), RecordedExamples()
        for parameter in model.parameters() if state else ():
            nn.init.normal_(parameter)  # only the checkpoint knows the parameters
        begun, left = images_until(state), kill
        for event in loop(model, optimizer, precision).train(examples, {}, state):
            if isinstance(event, EpochResult):
                metrics[event.epoch] = dict(event.metrics)
            if isinstance(event, Checkpoint):
                state, left = from_files(to_files(event.state)), left - 1
                if left == 0:
                    break
        seen += examples.seen[: images_until(state) - begun]  # examples beyond the checkpoint are read again
    return Outcome(model, seen, [metrics[epoch] for epoch in sorted(metrics)])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_kill_after_every_step_does_not_change_the_result(optimizer: str, precision: str) -> None:
    expected = through(optimizer, precision)
    assert len(expected.seen) == 3 * 14
    first = {epoch: sorted(index for e, index in expected.seen if e == epoch) for epoch in range(3)}
    assert all(indices == list(range(14)) for indices in first.values())  # each once an epoch
    found = with_kills([1] * (3 * (STEPS + 1) - 1), optimizer, precision)
    assert state_hash(found.model) == state_hash(expected.model)
    assert found.metrics == expected.metrics


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 7), max_size=6))
def test_random_kills_do_not_change_the_result(kills: list[int]) -> None:
    if sum(kills) < 3 * (STEPS + 1):
        assert with_kills(kills, "adam", "fast") == through("adam", "fast")


def test_a_state_survives_a_round_trip_through_files() -> None:
    state = TrainState(2, 7, {"a": torch.randn(3), "b": torch.tensor(5)}, {"totals": [0.1 + 0.2]})
    again = from_files(to_files(state))
    assert (again.epoch, again.step, again.values) == (2, 7, {"totals": [0.1 + 0.2]})
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in state.tensors.items())


@pytest.mark.parametrize("files", [{}, {"position.json": b"[]"}, {"position.json": b"{", "state.safetensors": b""}])
def test_files_without_a_state_are_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(IntegrityError, match="does not contain a training state"):
        from_files(files)


def test_nan_values_are_never_saved(tmp_path: Path) -> None:
    manager = CheckpointManager(RunDir(tmp_path), InterruptFlag(), interval=0, world=SINGLE_PROCESS)
    assert manager.save(TrainState(0, 1, {"w": torch.tensor([1.0, float("nan")])})) is None
    assert RunDir(tmp_path).checkpoints.names() == []
    assert manager.save(TrainState(0, 1, {"w": torch.tensor([1.0, 2.0])})) is not None


def test_a_checkpoint_is_due_after_its_interval(tmp_path: Path) -> None:
    interrupt = InterruptFlag()
    assert CheckpointManager(RunDir(tmp_path), interrupt, interval=0, world=SINGLE_PROCESS).due()
    patient = CheckpointManager(RunDir(tmp_path), interrupt, interval=None, world=SINGLE_PROCESS)
    assert not patient.due()
    interrupt.signal = 2
    assert patient.due()


class Killed(BaseException):
    """Ends a run like a kill: nothing catches it."""


def run_and_die(registry: Registry, name: str, store: Store, out: Path, *, after: int, **more: Any) -> RunDir:
    """Train from a recipe, and die once this many checkpoints are on disk."""
    left = after

    def die(event: object) -> None:
        nonlocal left
        if isinstance(event, Saved):
            left -= 1
            if left == 0:
                raise Killed

    with pytest.raises(Killed):
        execute(registry.plan(name), store=store, out=out, on_event=die, checkpoint_every=0, **more)
    (run,) = (path for path in (out / name).iterdir() if not path.is_symlink())
    return RunDir.open(run)


def figures(run: Path) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("recipe", ["pond", "pond-features", "pond-patient"])
@pytest.mark.parametrize("after", [1, 4, 6])
def test_a_run_resumes_in_its_directory_with_the_same_result(
    pond: Registry, store: Store, tmp_path: Path, recipe: str, after: int
) -> None:
    straight = execute(pond.plan(recipe), store=store, out=tmp_path / "straight").directory
    after = min(after, 2) if recipe == "pond-patient" else after  # it saves every third step
    run = run_and_die(pond, recipe, store, tmp_path / "killed", after=after)
    seen: list[object] = []
    result = execute(pond.plan_again(run.plan()), store=store, resume=run, on_event=seen.append)
    assert result.directory == run.path
    assert [type(event) for event in seen if isinstance(event, Resumed)] == [Resumed]
    assert (run.path / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    assert figures(run.path) == figures(straight)
    assert [dict(epoch) for epoch in result.history] == figures(straight)
    assert run.status == "finished"
    assert not run.checkpoints.folder.exists()
    assert json.loads((run.path / "resumes.jsonl").read_text())["changed"] == {}


def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_used(
    pond: Registry, store: Store, tmp_path: Path
) -> None:
    run = run_and_die(pond, "pond", store, tmp_path / "killed", after=4)
    newest = run.checkpoints.folder / run.checkpoints.names()[-1]
    (newest / "state.safetensors").write_bytes(b"spoilt")
    seen: list[object] = []
    result = execute(pond.plan_again(run.plan()), store=store, resume=run, on_event=seen.append)
    (resumed,) = (event for event in seen if isinstance(event, Resumed))
    assert resumed.step == 3
    assert newest.name in resumed.damaged[0]
    straight = execute(pond.plan("pond"), store=store, out=tmp_path / "straight").directory
    assert (result.directory / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()


def test_without_a_checkpoint_a_run_restarts_in_the_same_directory(
    pond: Registry, store: Store, tmp_path: Path
) -> None:
    run = run_and_die(pond, "pond", store, tmp_path, after=1)
    run.checkpoints.clear()
    assert execute(pond.plan_again(run.plan()), store=store, resume=run).directory == run.path
    assert len(figures(run.path)) == 2


def test_another_machine_is_reported(pond: Registry, store: Store, tmp_path: Path) -> None:
    run = run_and_die(pond, "pond", store, tmp_path, after=1)
    recorded = json.loads((run.path / "environment.json").read_text())
    (run.path / "environment.json").write_text(json.dumps({**recorded, "threads": 77}))
    seen: list[object] = []
    execute(pond.plan_again(run.plan()), store=store, resume=run, on_event=seen.append)
    (resumed,) = (event for event in seen if isinstance(event, Resumed))
    assert resumed.changed == {"threads": (77, torch.get_num_threads())}


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(pond: Registry, store: Store, tmp_path: Path) -> None:
    plan = pond.plan("pond", {"optimizer": {"name": "sgd", "lr": 1e30}})
    with pytest.raises(Diverged):
        execute(plan, store=store, out=tmp_path, checkpoint_every=0)
    (run,) = (RunDir(path) for path in (tmp_path / "pond").iterdir() if not path.is_symlink())
    checkpoint, damaged = run.checkpoints.newest()
    assert damaged == ()
    assert checkpoint is None or all(t.isfinite().all() for t in from_files(checkpoint.files).tensors.values())


def test_a_state_of_another_model_is_refused(pond: Registry, store: Store, tmp_path: Path) -> None:
    run = run_and_die(pond, "pond", store, tmp_path, after=1)
    run.checkpoints.clear()
    run.checkpoints.save(0, 1, to_files(TrainState(0, 1, {"model.other": torch.zeros(1)}, {"totals": [0.0]})))
    with pytest.raises(IntegrityError, match="a checkpoint does not fit this run"):
        execute(pond.plan_again(run.plan()), store=store, resume=run)


def test_a_run_that_finished_meanwhile_is_not_resumed(pond: Registry, store: Store, tmp_path: Path) -> None:
    run = RunDir(execute(pond.plan("pond"), store=store, out=tmp_path).directory)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="has finished"):
        execute(pond.plan_again(run.plan()), store=store, resume=run)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_run_that_dies_after_training_does_not_train_again(pond: Registry, store: Store, tmp_path: Path) -> None:
    straight = execute(pond.plan("pond"), store=store, out=tmp_path / "straight").directory
    run = run_and_die(pond, "pond", store, tmp_path / "killed", after=14 + 2 * 2)
    assert run.checkpoints.names()[-1] == "000002-000000000"
    seen: list[object] = []
    execute(pond.plan_again(run.plan()), store=store, resume=run, on_event=seen.append)
    assert not any(isinstance(event, EpochResult) for event in seen)
    for name in ("weights.safetensors", "mistakes.json", "predictions.csv"):
        assert (run.path / name).read_bytes() == (straight / name).read_bytes()


def test_progress_comes_before_the_checkpoint_that_is_due() -> None:
    kinds = [type(event) for event in loop(network(), "adam", "default").train(RecordedExamples(), {})]
    assert kinds[:4] == [Progress, Checkpoint] * 2


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_out_of_memory_suggests_a_smaller_batch(error: Exception) -> None:
    with pytest.raises(ResourceError, match="not enough memory for batches of 3") as raised, translate_oom(RECIPE):
        raise error
    assert raised.value.fix == "zoo run r --batch-size 1"


def test_other_runtime_errors_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="shapes"), translate_oom(RECIPE):
        raise RuntimeError("shapes do not fit")


def test_another_plugin_version_or_processor_is_reported(pond: Registry, store: Store, tmp_path: Path) -> None:
    run = run_and_die(pond, "pond", store, tmp_path, after=1)
    recorded = json.loads((run.path / "environment.json").read_text())
    plugin = "zoo-fashion-cnn"
    assert recorded["plugins"][plugin]
    assert recorded["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    plugins = {**recorded["plugins"], plugin: "0.0.9"}
    other = {"plugins": plugins, "cpu": "another one", "cpu_capability": "DEFAULT"}
    (run.path / "environment.json").write_text(json.dumps({**recorded, **other}))
    seen: list[object] = []
    execute(pond.plan_again(run.plan()), store=store, resume=run, on_event=seen.append)
    (resumed,) = (event for event in seen if isinstance(event, Resumed))
    assert set(resumed.changed) == {f"plugins.{plugin}", "cpu", "cpu_capability"}


def batch_norm_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


def test_a_last_batch_of_one_does_not_stop_a_model_with_batch_norm() -> None:
    recipe = RECIPE.model_copy(update={"batch_size": 13})
    examples = RecordedExamples()
    list(TrainingLoop(batch_norm_network(), recipe, CPU, FLOAT32).train(examples))
    assert len(examples.seen) == 3 * 14  # nothing is dropped


def test_a_batch_too_small_for_batch_norm_is_a_usage_error() -> None:
    recipe = RECIPE.model_copy(update={"batch_size": 1})
    with pytest.raises(UsageError, match="batches of 1 are too small for this model") as raised:
        list(TrainingLoop(batch_norm_network(), recipe, CPU, FLOAT32).train(RecordedExamples()))
    assert raised.value.fix == "zoo run r --batch-size 2"


def test_a_checkpoint_from_before_batches_were_merged_keeps_its_batches() -> None:
    """Its steps count a last batch of one."""
    recipe = RECIPE.model_copy(update={"batch_size": 13})
    new = TrainingLoop(network(), recipe, CPU, FLOAT32, due=lambda: True)
    states = [event.state for event in new.train(RecordedExamples()) if isinstance(event, Checkpoint)]
    assert [state.step for state in states] == [1, 0] * 3
    old = from_files(to_files(TrainState(0, 0, states[0].tensors, {"totals": [0.0]})))
    resumed = TrainingLoop(network(), recipe, CPU, FLOAT32, due=lambda: True)
    states = [event.state for event in resumed.train(RecordedExamples(), {}, old) if isinstance(event, Checkpoint)]
    assert [state.step for state in states] == [1, 2, 0] * 3


def test_the_loss_and_its_targets_can_be_replaced() -> None:
    """Rows of the targets match the batch; a run with a constant loss changes nothing."""
    rows: list[int] = []

    def constant(logits: Tensor, indices: Tensor, labels: Tensor) -> Tensor:
        rows.extend(indices.tolist())
        assert torch.equal(labels, indices % 2)
        return 0 * logits.sum()

    examples, model = RecordedExamples(), network()
    before = [parameter.clone() for parameter in model.parameters()]
    targets = (torch.arange(14), examples.labels)
    list(TrainingLoop(model, RECIPE, CPU, FLOAT32).train(examples, loss=constant, targets=targets))
    assert rows == [index for _, index in examples.seen]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
