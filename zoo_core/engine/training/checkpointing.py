"""Saves where training stands when that is due, and ends a run after it when somebody asked for the end."""

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

EVERY = 60.0  # seconds between checkpoints, unless they are told
SHARE = 20  # then saving may take one part in this many of a run's time
PATIENCE = 32  # steps that we wait for ranks to agree on a checkpoint before we end without one
TENSORS, POSITION, METRICS = "state.safetensors", "position.json", "metrics.jsonl"
OLD_POSITION = "place.json"  # its name before documents carried a schema


class CheckpointManager:
    """Keeps a run's checkpoints.

    Args:
        run: where to.
        stop: whether somebody asked for the end.
        every: seconds between two checkpoints; None: EVERY, or more where saving takes long.
        ranks: those that share the work; they save together.
    """

    def __init__(self, run: RunDir, stop: InterruptFlag, *, every: float | None, world: World) -> None:
        self._run, self._stop, self._every, self._ranks = run, stop, every, world
        self._last, self._took = monotonic(), 0.0
        self._waited = 0

    def due(self) -> bool:
        """Tell whether a checkpoint is wanted now."""
        wait = max(EVERY, SHARE * self._took) if self._every is None else self._every
        return self._stop.asked is not None or monotonic() - self._last >= wait

    def keep(self, state: TrainState) -> Saved | None:
        """Save a state if one is due; None: it is not, or holds what is no number, which nothing can go on from.

        Raises:
            ResourceError: it could not be written.
        """
        agreed = self._ranks.count > 1 and state.step > 0  # ranks have asked one another
        if not (agreed or self.due()) or not all(torch.isfinite(tensor).all() for tensor in state.tensors.values()):
            return None
        started = monotonic()
        if self._run.writes:
            files = {**to_files(state), METRICS: self._run.read("metrics.jsonl") or b""}
            self._run.checkpoints.save(state.epoch, state.step, files)
        self._last = monotonic()
        self._took = self._last - started
        return Saved(self._run.path, state.epoch, state.step)

    def end_if_asked(self, event: Event) -> None:
        """End the run when that was asked for: after a checkpoint, or where none comes."""
        if self._stop.asked is None:
            return
        self._waited += not isinstance(event, Checkpoint)
        if isinstance(event, Checkpoint) or self._waited > (1 if self._ranks.count == 1 else PATIENCE):
            self._stop.now()


def to_files(state: TrainState) -> dict[str, bytes]:
    """Return a state as files: safetensors and JSON."""
    position = {"epoch": state.epoch, "step": state.step, "values": dict(state.values)}
    return {TENSORS: save_tensors(state.tensors), POSITION: dump_document(position)}


def from_files(files: Mapping[str, bytes]) -> TrainState:
    """Return the state that `packed` was given.

    Raises:
        IntegrityError: these files hold none.
    """
    try:
        _, position = load_document(files[POSITION if POSITION in files else OLD_POSITION])
        tensors = load_tensors(files[TENSORS], TENSORS)
        return TrainState(position["epoch"], position["step"], tensors, position["values"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("a checkpoint holds no state of training", why=repr(error)) from error
