"""What kind of number a metric is, decided by its name in one table or by the trainer that reports it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from types import MappingProxyType
from typing import Literal

MetricKind = Literal["fraction", "loss", "number"]  # a fraction is between 0 and 1, and is shown in percent

SPLITS = ("train_", "validation_", "test_")  # prefixes of a metric's name: the images it is measured on
METRIC_KINDS: Mapping[str, MetricKind] = MappingProxyType(  # by the name without its split
    {
        "loss": "loss",
        "accuracy": "fraction",
        "accuracy_augmented": "fraction",
        "top5_accuracy": "fraction",
        "precision": "fraction",
        "recall": "fraction",
        "f1": "fraction",
        "calibration_error": "fraction",
    }
)


def metric_kind(name: str, declared: Mapping[str, MetricKind] | None = None) -> MetricKind:
    """Return the kind of a metric such as "validation_accuracy".

    What the trainer declares (`EpochResult.kinds`) comes first, then METRIC_KINDS under the name without its split. Any
    other metric is a plain "number".
    """
    split = next((prefix for prefix in SPLITS if name.startswith(prefix)), "")
    return (declared or {}).get(name) or METRIC_KINDS.get(name.removeprefix(split), "number")


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share of `total` independent images, as fractions of 1.

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927);
    without any image it is (0, 1).
    """
    if total <= 0:
        return 0.0, 1.0
    z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
    share, scale = correct / total, 1 + z * z / total
    center = (share + z * z / (2 * total)) / scale
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return max(0.0, center - half), min(1.0, center + half)
