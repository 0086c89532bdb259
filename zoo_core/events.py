"""What training reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo_core.metrics import MetricKind

if TYPE_CHECKING:  # this file is read by commands that never need torch
    from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of the work named `what`; who watches measures how fast."""

    what: str
    done: int
    total: int
    unit: str = ""  # "images", "steps"; "B": bytes


@dataclass(frozen=True)
class Predictions:
    """Probabilities over a set of images, in its order."""

    names: tuple[str, ...]
    labels: tuple[int, ...]
    probabilities: tuple[tuple[float, ...], ...]  # (images, classes); each row sums to 1


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch: `loss` is the mean over batches; accuracies are fractions of 1."""

    epoch: int  # from 1
    epochs: int
    metrics: Mapping[str, float]
    seconds: float
    predictions: Predictions | None = None  # over the validation images, where the trainer has them
    kinds: Mapping[str, MetricKind] = field(default_factory=dict)  # of metrics that `zoo_core.metrics` does not know


@dataclass(frozen=True)
class TrainState:
    """Where training stands: enough to go on exactly, in tensors and JSON values only.

    The tensors are the live ones: copy or write them before the trainer is asked for its next event.
    """

    epoch: int  # finished epochs
    step: int  # finished steps inside the next one
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A moment at which the caller may save `state`."""

    state: TrainState


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on the disk, read back and right: whatever happens now, the run can go on from here."""

    run: Path  # its directory
    epoch: int  # finished epochs
    step: int  # finished steps inside the next one


@dataclass(frozen=True)
class Resumed:
    """A run goes on from a checkpoint: the newest that is whole, or from the start where there is none."""

    run: Path
    epoch: int
    step: int
    damaged: tuple[str, ...]  # what is wrong with newer ones
    changed: Mapping[str, tuple[Any, Any]]  # then and now: it goes on, but not bit for bit


Event = Progress | EpochResult | Checkpoint | Saved | Resumed


OnEvent = Callable[[Event], None]


T = TypeVar("T")


def never_due() -> bool:
    """Say that no checkpoint is wanted: the `due` of those who save none."""
    return False


def ignore_event(event: Event) -> None:
    """Look away: the OnEvent of those who do not watch."""


def drive(steps: Generator[Event, None, T], on_event: OnEvent) -> T:
    """Run steps to their end, showing each event, and return what they return."""
    while True:
        try:
            on_event(next(steps))
        except StopIteration as stop:
            returned: T = stop.value
            return returned
