"""What training and prediction give back: events while they go on, and values at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo_core.recipes import Documented, Figure

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
    predictions: Predictions | None = None  # over the validation images, where the trainer has them at hand


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
Observe = Callable[[Event], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """One documented figure beside the measured one."""

    metric: str
    documented: Figure
    measured: float | None  # None: this run did not measure it

    @property
    def held(self) -> bool:
        """Whether the figure was measured and agrees."""
        return self.measured is not None and self.documented.holds(self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as commands and run directories write it."""
        documented = self.documented.model_dump()
        return {"metric": self.metric, "documented": documented, "measured": self.measured, "held": self.held}


@dataclass(frozen=True)
class ClassResult:
    """How one class fared. Precision is of what was called it; recall of what is it; None where that is nothing."""

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a set of labelled images."""

    images: int
    loss: float  # mean over images
    accuracy: float  # fraction of 1
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]  # row: what it is; column: what it was called
    predictions: Predictions


@dataclass(frozen=True)
class RunResult:
    """A finished run: its directory, and what it measured at the end."""

    directory: Path
    metrics: Mapping[str, float]
    comparisons: tuple[Comparison, ...] = ()
    history: tuple[Mapping[str, float], ...] = ()  # the metrics of each epoch

    @property
    def held(self) -> bool:
        """Whether every documented figure held."""
        return all(comparison.held for comparison in self.comparisons)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: every class with its probability, likeliest first."""

    image: str
    ranking: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.ranking[0][0]

    @property
    def probability(self) -> float:
        """The likeliest class's probability."""
        return self.ranking[0][1]


@dataclass(frozen=True)
class Mistake:
    """An image that a model got wrong, or was least sure of: two PNG files, as it saw it and where it looked."""

    name: str
    label: str
    predicted: str
    probability: float  # of what it is
    image: bytes
    overlay: bytes | None  # None: the network has no maps

    @property
    def right(self) -> bool:
        """Whether it was right after all."""
        return self.label == self.predicted


def words(metric: str) -> str:
    """Return a metric's name as people read it."""
    return metric.replace("_", " ")


def show_documented(name: str, figure: Figure) -> str:
    """Return a documented figure: a bound, or a value to come near to."""
    if figure.at_least is not None:
        return f"≥ {show_metric(name, figure.at_least)}"
    assert figure.value is not None
    return f"about {show_metric(name, figure.value)}"


def show_measured(name: str, value: float | None) -> str:
    """Return a measurement, or that there is none."""
    return "not measured" if value is None else show_metric(name, value)


def show_metric(name: str, value: float) -> str:
    """Return an accuracy in per cent, and anything else with four significant digits."""
    return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4g}"


def never() -> bool:
    """Say that no checkpoint is wanted: the `due` of those who save none."""
    return False


def unobserved(event: Event) -> None:
    """Look away: the Observe of those who do not watch."""


def observed(steps: Generator[Event, None, T], observe: Observe) -> T:
    """Run steps to their end, showing each event, and return what they return."""
    while True:
        try:
            observe(next(steps))
        except StopIteration as stop:
            returned: T = stop.value
            return returned


def compare(documented: Documented | None, metrics: Mapping[str, float]) -> tuple[Comparison, ...]:
    """Put each documented figure beside what was measured under the same name."""
    figures = documented.figures if documented else {}
    return tuple(Comparison(name, figure, metrics.get(name)) for name, figure in figures.items())
