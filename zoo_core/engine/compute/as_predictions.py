"""Turns a batch of logits into values that need no torch."""

from __future__ import annotations

from torch import Tensor

from zoo_core.engine.compute.losses import probabilities
from zoo_core.events import Predictions


def predictions_of(logits: Tensor, labels: Tensor, names: tuple[str, ...]) -> Predictions:
    """Return the probabilities for logits (N, K) as values; the labels are (N,), or (N, K) for multi-label data."""
    rows = probabilities(logits, multi_label=labels.ndim == 2).tolist()
    return Predictions(names, _as_values(labels), tuple(map(tuple, rows)))


def _as_values(labels: Tensor) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    if labels.ndim == 1:
        return tuple(labels.tolist())
    return tuple(tuple(k for k, value in enumerate(row) if value) for row in labels.tolist())
