"""Decides when to save a checkpoint, saves it, and ends a run after it if a signal asked for that."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

import torch

from zoo_core.disk.documents import dump_document, load_document
from zoo_core.engine.compute.distributed import World
from zoo_core.engine.models.weights import load_tensors, save_tensors
from zoo_core.engine.training.interrupts import InterruptFlag
from zoo_core.errors import IntegrityError
from zoo_core.events import Checkpoint, Event, Saved, TrainState
from zoo_core.runs.directory import RunDir

DEFAULT_INTERVAL = 60.0  # seconds between checkpoints
COST_FACTOR = 20  # by default, saving takes at most 1/20 of a run's time
MAX_STEPS_TO_AGREE = 32  # events to wait for ranks to agree on a checkpoint before the run ends without one
TENSORS, POSITION, METRICS = "state.safetensors", "position.json", "metrics.jsonl"
OLD_POSITION = "place.json"  # its name before documents had a schema


class CheckpointManager:
    """Saves a run's checkpoints.

    Args:
        run: the run's directory.
        interrupt: whether a signal asked the run to end.
        interval: seconds between two checkpoints; None: DEFAULT_INTERVAL, or longer where saving takes long.
        world: the processes that share the work; they save at the same step.
    """

    def __init__(self, run: RunDir, interrupt: InterruptFlag, *, interval: float | None, world: World) -> None:
        self._run, self._interrupt, self._interval, self._world = run, interrupt, interval, world
        self._last_save, self._last_duration = monotonic(), 0.0
        self._events_since_interrupt = 0

    def due(self) -> bool:
        """Return whether a checkpoint should be saved now."""
        slow = max(DEFAULT_INTERVAL, COST_FACTOR * self._last_duration)
        interval = slow if self._interval is None else self._interval
        return self._interrupt.is_set or monotonic() - self._last_save >= interval

    def save(self, state: TrainState) -> Saved | None:
        """Save a state if that is due; None: it is not, or the state has NaN or infinite values.

        Raises:
            ResourceError: it could not be written.
        """
        agreed = self._world.count > 1 and state.step > 0  # the ranks have already agreed on it
        if not (agreed or self.due()) or not all(torch.isfinite(tensor).all() for tensor in state.tensors.values()):
            return None
        started = monotonic()
        if self._run.writes:
            files = {**to_files(state), METRICS: self._run.read("metrics.jsonl") or b""}
            self._run.checkpoints.save(state.epoch, state.step, files)
        self._last_save = monotonic()
        self._last_duration = self._last_save - started
        return Saved(self._run.path, state.epoch, state.step)

    def end_if_interrupted(self, event: Event) -> None:
        """End the run if a signal asked for it: after a checkpoint, or if none comes soon."""
        if not self._interrupt.is_set:
            return
        self._events_since_interrupt += not isinstance(event, Checkpoint)
        limit = 1 if self._world.count == 1 else MAX_STEPS_TO_AGREE
        if isinstance(event, Checkpoint) or self._events_since_interrupt > limit:
            self._interrupt.end_run()


def to_files(state: TrainState) -> dict[str, bytes]:
    """Return a state as files: safetensors and JSON."""
    position = {"epoch": state.epoch, "step": state.step, "values": dict(state.values)}
    return {TENSORS: save_tensors(state.tensors), POSITION: dump_document(position)}


def from_files(files: Mapping[str, bytes]) -> TrainState:
    """Return the state that `to_files` was given.

    Raises:
        IntegrityError: the files do not contain a state.
    """
    try:
        _, position = load_document(files[POSITION if POSITION in files else OLD_POSITION])
        tensors = load_tensors(files[TENSORS], TENSORS)
        return TrainState(position["epoch"], position["step"], tensors, position["values"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("a checkpoint does not contain a training state", why=repr(error)) from error
