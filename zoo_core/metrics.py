"""Metrics of a classifier from counts, and what kind of number a metric is: by its name, or by who reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType
from typing import Any, Literal

MetricKind = Literal["fraction", "loss", "number"]  # a fraction is between 0 and 1, and is shown in percent
Interval = tuple[float, float]

Z95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution
SPLITS = ("train_", "validation_", "test_")  # prefixes of a metric's name: the images it is measured on
METRIC_KINDS: Mapping[str, MetricKind] = MappingProxyType(  # by the name without its split
    {
        "loss": "loss",
        "accuracy": "fraction",
        "accuracy_augmented": "fraction",
        "balanced_accuracy": "fraction",
        "top5_accuracy": "fraction",
        "precision": "fraction",
        "recall": "fraction",
        "f1": "fraction",
        "macro_f1": "fraction",
        "calibration_error": "fraction",
        "map": "fraction",  # mean average precision
        "map_augmented": "fraction",
        "micro_f1": "fraction",
        "exact_match": "fraction",
    }
)

TASK_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # by task, the main one first
    {
        "single-label": ("accuracy", "balanced_accuracy", "macro_f1"),
        "multi-label": ("map", "macro_f1", "micro_f1", "exact_match"),
    }
)


def for_task(name: str, task: str) -> str:
    """Return the name of the task's metric: "validation_map" for "validation_accuracy" of multi-label data."""
    main = TASK_METRICS["single-label"][0]
    split = next((prefix for prefix in SPLITS if name.startswith(f"{prefix}{main}")), None)
    return name if split is None else f"{split}{TASK_METRICS[task][0]}{name.removeprefix(split + main)}"


def metric_kind(name: str, declared: Mapping[str, MetricKind] | None = None) -> MetricKind:
    """Return the kind of a metric such as "validation_accuracy".

    What the trainer declares (`EpochResult.kinds`) comes first, then METRIC_KINDS under the name without its split. Any
    other metric is a plain "number".
    """
    split = next((prefix for prefix in SPLITS if name.startswith(prefix)), "")
    return (declared or {}).get(name) or METRIC_KINDS.get(name.removeprefix(split), "number")


def higher_is_better(name: str, declared: Mapping[str, MetricKind] | None = None) -> bool | None:
    """Return whether a higher value of a metric is better: no for losses and errors, yes for other fractions.

    None: it is a plain number, of which that is not known.
    """
    kind = metric_kind(name, declared)
    if kind == "number":
        return None
    return kind == "fraction" and not name.endswith("_error")


def measured_split(name: str) -> str:
    """Return the split that a metric is measured on, by its name: "train", "validation", "test" or ""."""
    return next((prefix[:-1] for prefix in SPLITS if name.startswith(prefix)), "")


def is_accuracy(name: str) -> bool:
    """Return whether a metric is the share of a split's images that are classified correctly."""
    return name.removeprefix(f"{measured_split(name)}_") in ("accuracy", "accuracy_augmented")


def wilson(correct: int, total: int) -> Interval:
    """Return the 95 % Wilson score interval of the fraction correct / total; (0, 1) if the total is 0.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
    Statistical Association 22 (1927), pages 209-212; without continuity correction. It covers the true accuracy about
    95 times in 100 for independent images, also near 0 and 1 and for few images, where the usual interval fails.
    """
    if total == 0:
        return (0.0, 1.0)
    fraction, share = correct / total, Z95**2 / total
    center = (fraction + share / 2) / (1 + share)
    half = sqrt(share * (fraction * (1 - fraction) + share / 4)) / (1 + share)
    return (0.0 if correct == 0 else center - half, 1.0 if correct == total else center + half)


def accuracy_interval(accuracy: float, images: int) -> Interval:
    """Return the 95 % Wilson interval of an accuracy on this many images."""
    return wilson(round(accuracy * images), images)


def balanced_accuracy(correct: Sequence[int], labeled: Sequence[int]) -> float:
    """Return the mean recall of the classes that have images, between 0 and 1; 0 without images.

    Args:
        correct: by class, the images of this label that are predicted correctly.
        labeled: by class, the images of this label.
    """
    recalls = [right / count for right, count in zip(correct, labeled, strict=True) if count]
    return sum(recalls) / max(1, len(recalls))


def macro_f1(correct: Sequence[int], labeled: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the mean F1 score of all classes that are labeled or predicted, between 0 and 1; 0 without images.

    Args:
        correct: by class, the images of this label that are predicted correctly.
        labeled: by class, the images of this label.
        predicted: by class, the images for which it is predicted.
    """
    both = zip(correct, labeled, predicted, strict=True)
    scores = [2 * right / (count + answers) for right, count, answers in both if count + answers]
    return sum(scores) / max(1, len(scores))


@dataclass(frozen=True)
class SplitCounts:
    """How many images a split has, by class."""

    images: int
    classes: Mapping[str, int]
    multi_label: bool = False  # whether an image may have several classes, or none
    folds: int | None = None  # of validation images: they were trained on as well, and predicted fold by fold

    @property
    def majority(self) -> float | None:
        """The accuracy of always predicting the most frequent class; None: where there is no accuracy."""
        if self.multi_label or not self.images:
            return None
        return max(self.classes.values()) / self.images

    def as_json(self) -> dict[str, Any]:
        """Return the counts as result.json has them."""
        folds = {} if self.folds is None else {"folds": self.folds}
        return {"images": self.images, "classes": dict(self.classes), "majority": self.majority, **folds}


def by_folds(folds: int) -> str:
    """Return how images were validated, in words: "5-fold cross-validation"."""
    return f"{folds}-fold cross-validation"


def intervals(metrics: Mapping[str, float], splits: Mapping[str, SplitCounts]) -> dict[str, Interval]:
    """Return the 95 % Wilson interval of each accuracy on images that were not trained on, by metric."""
    return {
        name: accuracy_interval(value, splits[measured_split(name)].images)
        for name, value in metrics.items()
        if is_accuracy(name) and measured_split(name) in splits and measured_split(name) != "train"
    }


def majority_of(metric: str, splits: Mapping[str, SplitCounts]) -> float | None:
    """Return the accuracy of always predicting the most frequent class of the images that a metric is measured on.

    None: the metric is not an accuracy, or of no known split.
    """
    counts = splits.get(measured_split(metric))
    return counts.majority if counts is not None and is_accuracy(metric) else None
