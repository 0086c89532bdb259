"""Labeled examples to train or measure on, and what a model predicts for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from zoo_core.engine.compute.as_predictions import predictions_of
from zoo_core.engine.compute.losses import cross_entropy, probabilities
from zoo_core.events import Predictions
from zoo_core.metrics import for_task
from zoo_core.multi_label import DEFAULT_THRESHOLD, MultiLabelTable

VALIDATION = "validation_accuracy"  # the measure of the validation images


class Examples(Protocol):
    """Labeled inputs, by index."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64; for multi-label data (N, K) float32 of 0 and 1."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each example."""

    @property
    def inference_batch_size(self) -> int:
        """How many examples to send through a model at once when no gradients are needed."""

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, ...) float32 for each (n,) of indices; random draws depend only on the epoch and the index."""


@dataclass(frozen=True)
class EvaluatedExamples:
    """Examples and the logits a model returned for them."""

    examples: Examples
    logits: Tensor  # (N, K) float32, on the CPU

    @property
    def loss(self) -> float:
        """The mean cross-entropy over the examples."""
        return cross_entropy(self.logits, self.examples.labels).item()

    @property
    def accuracy(self) -> float:
        """The fraction of single-label examples that are classified correctly, exact: a count divided by a count."""
        correct = probabilities(self.logits).argmax(dim=1) == self.examples.labels
        return int(correct.sum().item()) / len(correct)

    @property
    def predictions(self) -> Predictions:
        """The probabilities of every example."""
        return predictions_of(self.logits, self.examples.labels, self.examples.names)

    def metrics(self, measure: str) -> dict[str, float]:
        """Return the accuracy under the name of the measure, such as "validation_accuracy".

        Multi-label examples have a mean average precision in its place, "validation_map"; those of
        "validation_accuracy" also have macro-F1, micro-F1 and exact match, at the thresholds with the highest F1 scores
        on these examples.
        """
        if self.examples.labels.ndim == 1:
            return {measure: self.accuracy}
        classes = tuple(map(str, range(self.logits.shape[1])))
        if measure != VALIDATION:
            defaults = (DEFAULT_THRESHOLD,) * len(classes)  # they do not matter
            table = MultiLabelTable.of(self.predictions, classes, defaults)
            return {for_task(measure, table.task): table.mean_average_precision}
        metrics = MultiLabelTable.of(self.predictions, classes).metrics
        return {f"validation_{name}": value for name, value in metrics.items()}
