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
    """`done` of `total` units of the work named `what`; the display measures the speed."""

    what: str
    done: int
    total: int
    unit: str = ""  # "images", "steps"; "B": bytes


@dataclass(frozen=True)
class Predictions:
    """Class probabilities for each image of a set, in its order.

    The label of an image is the index of its class; for multi-label data, a sorted tuple of them, which may be empty.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...] | tuple[tuple[int, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]  # (images, classes); each row sums to 1, unless it is multi-label


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch: `loss` is the mean over batches; accuracies are fractions of 1."""

    epoch: int  # from 1
    epochs: int
    metrics: Mapping[str, float]
    seconds: float
    predictions: Predictions | None = None  # for the validation images, if there are any
    kinds: Mapping[str, MetricKind] = field(default_factory=dict)  # of metrics that `zoo_core.metrics` does not know


@dataclass(frozen=True)
class TrainState:
    """The state of training, complete enough for an exact resume, in tensors and JSON values only.

    The tensors are not copies: copy or write them before the trainer is asked for its next event.
    """

    epoch: int  # finished epochs
    step: int  # finished steps of the next epoch
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A point at which the caller may save `state`."""

    state: TrainState


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written and verified: whatever happens next, the run can be resumed from here."""

    run: Path  # its directory
    epoch: int  # finished epochs
    step: int  # finished steps of the next epoch


@dataclass(frozen=True)
class Resumed:
    """A run resumes from its newest intact checkpoint, or from the start if it has none."""

    run: Path
    epoch: int
    step: int
    damaged: tuple[str, ...]  # the errors of newer checkpoints
    changed: Mapping[str, tuple[Any, Any]]  # (then, now) of the environment: the resume is not bit for bit


@dataclass(frozen=True)
class AuditNote:
    """Something that the audit of a folder found and that does not stop the run, such as leaked or ignored files."""

    what: str  # "3 images appear in more than one split; ..."
    paths: tuple[str, ...] = ()  # relative to the folder


Event = Progress | EpochResult | Checkpoint | Saved | Resumed | AuditNote


OnEvent = Callable[[Event], None]


T = TypeVar("T")


def never_due() -> bool:
    """Never ask for a checkpoint: the default `due`."""
    return False


def ignore_event(event: Event) -> None:
    """Ignore the event: the default OnEvent."""


def drive(steps: Generator[Event, None, T], on_event: OnEvent) -> T:
    """Exhaust a generator, pass each event to `on_event`, and return the generator's result."""
    while True:
        try:
            on_event(next(steps))
        except StopIteration as stop:
            returned: T = stop.value
            return returned


def with_progress(
    steps: Generator[Event, None, T], change: Callable[[Progress], Progress]
) -> Generator[Event, None, T]:
    """Pass on the events of a part of the work, each Progress as `change` returns it, and return the part's result."""
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            returned: T = stop.value
            return returned
        yield change(event) if isinstance(event, Progress) else event
