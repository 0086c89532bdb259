"""Results of training, evaluation, prediction and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

from zoo_core.errors import UsageError
from zoo_core.metrics import Interval, MetricKind, SplitCounts, by_folds, intervals, metric_kind
from zoo_core.multi_label import LabelResult, MultiLabelTable
from zoo_core.predictions import ClassResult, PredictionTable
from zoo_core.recipes.reference import RecipeReference, ReferenceMetric

TOLERANCE = 0.005  # of a fraction: processors round differently, so a few predictions may flip

SPELLED = {"map": "mAP", "f1": "F1"}  # words of metrics' names that people write in another way

Verdict = Literal["match", "no match", "not measured", "not comparable"]


@dataclass(frozen=True)
class Comparison:
    """A published metric and the measured one."""

    metric: str
    reference: ReferenceMetric
    measured: float | None  # None: this run did not measure it
    chance: float | None = None  # the accuracy of always predicting the most frequent class, where that is known

    @property
    def verdict(self) -> Verdict:
        """Whether they match. A reference that a constant prediction would match as well is not comparable."""
        if self.measured is None:
            return "not measured"
        if self.chance is not None and self.reference.holds(self.chance):
            return "not comparable" if self.reference.holds(self.measured) else "no match"
        return "match" if self.reference.holds(self.measured) else "no match"

    @property
    def passed(self) -> bool:
        """Whether they match."""
        return self.verdict == "match"

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as commands and run directories write it."""
        return {
            "metric": self.metric,
            "reference": self.reference.model_dump(),
            "measured": self.measured,
            "chance": self.chance,
            "passed": self.passed,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class KeptEpoch:
    """The epoch whose weights a run keeps."""

    epoch: int  # from 1
    trained: int  # how many epochs were trained
    by: str = ""  # the metric that it is the best by; "": it is the last
    stopped: str = ""  # why training stopped before all epochs of the recipe

    def describe(self, metrics: Mapping[str, float], kinds: Mapping[str, MetricKind] | None = None) -> str:
        """Return it in words; "" if it is the last of all epochs."""
        measured = f"{words(self.by)} {format_measured(self.by, metrics.get(self.by), kinds)}"
        best = f"best epoch {self.epoch} of {self.trained}: {measured}" if self.by else ""
        return "; ".join(filter(None, (best, self.stopped)))


@dataclass(frozen=True)
class Evaluation:
    """The loss and the predictions of a model on a set of labeled images."""

    loss: float  # mean over images
    predictions: PredictionTable | MultiLabelTable = field(repr=False)
    model: str = ""  # which weights
    data: str = ""  # which images, with the split
    split: str = ""  # "test", "validation" or "train"; "all": nobody has split them
    precision: str = ""  # what it was computed in: "float32" or "bfloat16"

    def __repr__(self) -> str:
        name, value = next(iter(self.metrics.items()))
        measured = f"{words(name)} {100 * value:.2f} %, loss {self.loss:.4g}"
        return f"<Evaluation of {self.model or 'a model'} on {self.images:,} images: {measured}>"

    @property
    def images(self) -> int:
        """How many images were evaluated."""
        return len(self.predictions)

    @property
    def measured_on(self) -> str:
        """Which images, in words: "all 120 images of pets", "the 84 validation images of pets"."""
        count, source = f"{self.images:,}", self.data.removesuffix(f" ({self.split})")
        words = ["all", count] if self.split == "all" else ["the", count, self.split]
        return " ".join([*filter(None, words), "image" if self.images == 1 else "images", "of", source])

    @property
    def metrics(self) -> dict[str, float]:
        """Fractions of 1, those of the task; see `zoo_core.metrics.TASK_METRICS`."""
        return self.predictions.metrics

    @property
    def accuracy(self) -> float:
        """A fraction of 1; raises UsageError for multi-label images, which have none."""
        return self._single_label.accuracy

    @property
    def accuracy_interval(self) -> Interval:
        """The 95 % Wilson interval of the accuracy; raises UsageError for multi-label images."""
        return self._single_label.accuracy_interval

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have images; raises UsageError for multi-label images."""
        return self._single_label.balanced_accuracy

    @property
    def macro_f1(self) -> float:
        """The mean F1 score of all classes that are labeled or predicted, a fraction of 1."""
        return self.predictions.metrics["macro_f1"]

    @property
    def classes(self) -> tuple[ClassResult, ...] | tuple[LabelResult, ...]:
        """Precision and recall of each class; for multi-label images also F1, average precision and threshold."""
        return self.predictions.class_results

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Image counts, (true class, predicted class); raises UsageError for multi-label images."""
        return self._single_label.confusion

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions as plain values."""
        table = self.predictions
        if isinstance(table, MultiLabelTable):
            details: dict[str, Any] = {"without_images": table.without_images}
        else:
            interval = list(table.accuracy_interval)
            details = {"accuracy_interval": interval, "majority": table.majority, "confusion": table.confusion}
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "loss": self.loss,
            **self.metrics,
            "precision": self.precision,
            "classes": [asdict(result) for result in self.classes],
            **details,
        }

    @property
    def _single_label(self) -> PredictionTable:
        if isinstance(self.predictions, MultiLabelTable):
            raise UsageError("multi-label images have no accuracy and no confusion matrix", fix="see `.metrics`")
        return self.predictions


@dataclass(frozen=True)
class RunResult:
    """A finished run: its directory and its final metrics."""

    directory: Path
    metrics: Mapping[str, float]
    comparisons: tuple[Comparison, ...] = ()
    history: tuple[Mapping[str, float], ...] = ()  # the metrics of each epoch, with its number under "epoch"
    kinds: Mapping[str, MetricKind] = field(default_factory=dict)  # of metrics that `zoo_core.metrics` does not know
    kept: KeptEpoch | None = None  # the epoch of `metrics` and of the weights; None: no epoch was trained
    splits: Mapping[str, SplitCounts] = field(default_factory=dict)  # the images of each split
    seconds: float = 0.0  # wall time, with downloads and features; of a resumed run, since its last resume

    def __repr__(self) -> str:
        metrics = ", ".join(
            f"{words(name)} {format_metric(name, value, self.kinds)}" for name, value in self.metrics.items()
        )
        return f"<RunResult {self.directory}: {metrics}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(words(name))}</th><td>{escape(format_metric(name, value, self.kinds))}</td></tr>"
            for name, value in self.metrics.items()
        )
        return f"<table><caption>{escape(str(self.directory))}</caption>{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return the directory, the metrics, the history and the comparisons as plain values."""
        return {
            "run": str(self.directory),
            "metrics": dict(self.metrics),
            "intervals": self.intervals,
            "splits": {split: counts.as_json() for split, counts in self.splits.items()},
            "kept": asdict(self.kept) if self.kept else None,
            "seconds": self.seconds,
            "reference": [comparison.as_json() for comparison in self.comparisons],
            "passed": self.passed,
            "history": [dict(epoch) for epoch in self.history],
        }

    @property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % Wilson interval of each accuracy on images that were not trained on, by metric."""
        return intervals(self.metrics, self.splits)

    @property
    def validated(self) -> str:
        """How images were validated, if none were held out for it; otherwise ""."""
        counts = self.splits.get("validation")
        if counts is None or counts.folds is None:
            return ""
        return (
            f"{by_folds(counts.folds)} on all {counts.images:,} training images, each predicted by a head that was "
            "fitted without its fold"
        )

    @property
    def passed(self) -> bool:
        """Whether every published metric that is comparable matches."""
        return all(comparison.passed or comparison.verdict == "not comparable" for comparison in self.comparisons)


@dataclass(frozen=True)
class Mistake:
    """One of the images with the lowest probability for their label: two PNG files, the input and its Grad-CAM."""

    name: str
    label: str
    predicted: str
    probability: float  # of the label
    image: bytes
    overlay: bytes | None  # None: the network has no feature maps

    @property
    def right(self) -> bool:
        """Whether the label was predicted."""
        return self.label == self.predicted


def words(metric: str) -> str:
    """Return a metric's name as people read it."""
    return " ".join(SPELLED.get(word, word) for word in metric.split("_"))


def format_reference(name: str, reference: ReferenceMetric, kinds: Mapping[str, MetricKind] | None = None) -> str:
    """Return a published metric: a lower bound, or an approximate value."""
    if reference.at_least is not None:
        return f"≥ {format_metric(name, reference.at_least, kinds)}"
    assert reference.value is not None
    return f"about {format_metric(name, reference.value, kinds)}"


def format_interval(interval: Interval | None) -> str:
    """Return an interval of a fraction in percent; "" for None."""
    return "" if interval is None else f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %"


def format_measured(name: str, value: float | None, kinds: Mapping[str, MetricKind] | None = None) -> str:
    """Return a measured metric, or "not measured"."""
    return "not measured" if value is None else format_metric(name, value, kinds)


def format_metric(name: str, value: float, kinds: Mapping[str, MetricKind] | None = None) -> str:
    """Return a fraction in percent, any other metric with four significant digits.

    `kinds` is what the trainer declares for its own metrics.
    """
    return f"{100 * value:.2f} %" if metric_kind(name, kinds) == "fraction" else f"{value:.4g}"


def compare(
    reference: RecipeReference | None, metrics: Mapping[str, float], chance: Mapping[str, float] | None = None
) -> tuple[Comparison, ...]:
    """Compare each published metric with the measured one of the same name.

    `chance` is the share of the most frequent class in each split. It applies to accuracies, by the split that a
    metric's name begins with.
    """
    return tuple(
        Comparison(name, published, metrics.get(name), _chance_of(name, chance or {}))
        for name, published in (reference.metrics if reference else {}).items()
    )


def _chance_of(metric: str, chance: Mapping[str, float]) -> float | None:
    split, _, name = metric.partition("_")
    return chance.get(split) if name in ("accuracy", "accuracy_augmented") else None


@dataclass(frozen=True)
class Check:
    """An expected value and the value found."""

    subject: str
    what: str
    expected: object
    found: object
    tried: bool = True  # False: it could not be checked here, and `found` says why
    kind: MetricKind | None = None  # where the values are metrics

    @property
    def passed(self) -> bool:
        """Whether the two agree, or the check could not be made; fractions may differ by TOLERANCE."""
        if not self.tried:
            return True
        if self.kind == "fraction" and isinstance(self.expected, float) and isinstance(self.found, float):
            return abs(self.expected - self.found) <= TOLERANCE
        return self.expected == self.found
