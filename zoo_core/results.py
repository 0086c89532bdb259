"""What training, evaluation and prediction return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any

from zoo_core.events import Predictions
from zoo_core.recipes import RecipeReference, ReferenceMetric

TOLERANCE = 0.005  # of an accuracy: processors round differently, so an image or two may change sides


@dataclass(frozen=True)
class Comparison:
    """One documented figure beside the measured one."""

    metric: str
    reference: ReferenceMetric
    measured: float | None  # None: this run did not measure it

    @property
    def passed(self) -> bool:
        """Whether the figure was measured and agrees."""
        return self.measured is not None and self.reference.holds(self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as commands and run directories write it."""
        return {
            "metric": self.metric,
            "reference": self.reference.model_dump(),
            "measured": self.measured,
            "passed": self.passed,
        }


@dataclass(frozen=True)
class ClassResult:
    """Metrics of one class. `precision` is None if the class was never predicted, `recall` if it has no images."""

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """A model's metrics on a set of labelled images."""

    images: int
    loss: float  # mean over images
    accuracy: float  # fraction of 1
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]  # row: true class; column: predicted class
    predictions: Predictions = field(repr=False)
    model: str = ""  # which weights
    data: str = ""  # which images
    precision: str = ""  # what it was computed in: "float32" or "bfloat16"

    def __repr__(self) -> str:
        measured = f"accuracy {100 * self.accuracy:.2f} %, loss {self.loss:.4g}"
        return f"<Evaluation of {self.model or 'a model'} on {self.images:,} images: {measured}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions as plain values."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("predictions", "classes")},
            "classes": [vars(result) for result in self.classes],
        }


@dataclass(frozen=True)
class RunResult:
    """A finished run: its directory, and what it measured at the end."""

    directory: Path
    metrics: Mapping[str, float]
    comparisons: tuple[Comparison, ...] = ()
    history: tuple[Mapping[str, float], ...] = ()  # the metrics of each epoch, with its number under "epoch"

    def __repr__(self) -> str:
        metrics = ", ".join(f"{words(name)} {format_metric(name, value)}" for name, value in self.metrics.items())
        return f"<RunResult {self.directory}: {metrics}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(words(name))}</th><td>{escape(format_metric(name, value))}</td></tr>"
            for name, value in self.metrics.items()
        )
        return f"<table><caption>{escape(str(self.directory))}</caption>{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return the directory, the metrics, the history and the comparisons as plain values."""
        return {
            "run": str(self.directory),
            "metrics": dict(self.metrics),
            "reference": [comparison.as_json() for comparison in self.comparisons],
            "passed": self.passed,
            "history": [dict(epoch) for epoch in self.history],
        }

    @property
    def passed(self) -> bool:
        """Whether every documented figure held."""
        return all(comparison.passed for comparison in self.comparisons)


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one image: every class with its probability, the most probable first."""

    image: str
    ranking: tuple[tuple[str, float], ...]

    def __repr__(self) -> str:
        return f"<Prediction {self.image}: {self.label} {100 * self.probability:.2f} %>"

    def to_dict(self) -> dict[str, Any]:
        """Return a flat record for a table: image, label, probability, and a column for each class."""
        return {"image": self.image, "label": self.label, "probability": self.probability, **dict(self.ranking)}

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.ranking[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
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


def format_reference(name: str, figure: ReferenceMetric) -> str:
    """Return a documented figure: a bound, or a value to come near to."""
    if figure.at_least is not None:
        return f"≥ {format_metric(name, figure.at_least)}"
    assert figure.value is not None
    return f"about {format_metric(name, figure.value)}"


def format_measured(name: str, value: float | None) -> str:
    """Return a measurement, or that there is none."""
    return "not measured" if value is None else format_metric(name, value)


def format_metric(name: str, value: float) -> str:
    """Return an accuracy in per cent, and anything else with four significant digits."""
    return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4g}"


def compare(reference: RecipeReference | None, metrics: Mapping[str, float]) -> tuple[Comparison, ...]:
    """Put each documented figure beside what was measured under the same name."""
    figures = reference.metrics if reference else {}
    return tuple(Comparison(name, figure, metrics.get(name)) for name, figure in figures.items())


@dataclass(frozen=True)
class Check:
    """One figure that should be, and the one that is."""

    subject: str
    what: str
    expected: object
    found: object
    tried: bool = True  # False: it could not be looked at here, and `found` says why

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it: they agree; accuracies as far as other machines' arithmetic lets them."""
        if not self.tried:
            return True
        if isinstance(self.expected, float) and isinstance(self.found, float):
            return abs(self.expected - self.found) <= TOLERANCE
        return self.expected == self.found
