"""What kind of number a metric is, decided by its name in one table or by the trainer that reports it."""

from __future__ import annotations

from collections.abc import Mapping
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
        "map": "fraction",  # mean average precision
        "map_augmented": "fraction",
        "macro_f1": "fraction",
        "micro_f1": "fraction",
        "exact_match": "fraction",
    }
)

MAIN_METRIC: Mapping[str, str] = MappingProxyType({"single-label": "accuracy", "multi-label": "map"})  # by task


def for_task(name: str, task: str) -> str:
    """Return the name of the task's metric: "validation_map" for "validation_accuracy" of multi-label data."""
    main = MAIN_METRIC["single-label"]
    split = next((prefix for prefix in SPLITS if name.startswith(f"{prefix}{main}")), None)
    return name if split is None else f"{split}{MAIN_METRIC[task]}{name.removeprefix(split + main)}"


def metric_kind(name: str, declared: Mapping[str, MetricKind] | None = None) -> MetricKind:
    """Return the kind of a metric such as "validation_accuracy".

    What the trainer declares (`EpochResult.kinds`) comes first, then METRIC_KINDS under the name without its split. Any
    other metric is a plain "number".
    """
    split = next((prefix for prefix in SPLITS if name.startswith(prefix)), "")
    return (declared or {}).get(name) or METRIC_KINDS.get(name.removeprefix(split), "number")
