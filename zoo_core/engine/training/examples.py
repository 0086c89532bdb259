"""Labeled examples to train or measure on, and what a model predicts for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor

from zoo_core.cards.fields import Task
from zoo_core.engine.compute.as_predictions import predictions_of
from zoo_core.engine.compute.losses import cross_entropy, probabilities
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.events import Predictions
from zoo_core.metrics import balanced_accuracy, macro_f1
from zoo_core.multi_label import MultiLabelTable

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


def order_of(examples: Examples, seed: int, epoch: int) -> Tensor:
    """Return the order (N,) of an epoch: the examples' `order(seed, epoch)` if they have one, else any permutation.

    Examples in files have one that reads each file once.
    """
    order = getattr(examples, "order", None)
    found: Tensor = epoch_order(seed, epoch, len(examples.labels)) if order is None else order(seed, epoch)
    return found


@dataclass(frozen=True)
class EvaluatedExamples:
    """Examples and the logits a model returned for them."""

    examples: Examples
    logits: Tensor  # (N, K) float32, on the CPU

    @cached_property
    def loss(self) -> float:
        """The mean cross-entropy over the examples."""
        return cross_entropy(self.logits, self.examples.labels).item()

    @cached_property
    def accuracy(self) -> float:
        """The fraction of single-label examples that are classified correctly, exact: a count divided by a count."""
        correct = probabilities(self.logits).argmax(dim=1) == self.examples.labels
        return int(correct.sum().item()) / len(correct)

    @cached_property
    def predictions(self) -> Predictions:
        """The probabilities of every example."""
        return predictions_of(self.logits, self.examples.labels, self.examples.names)

    @property
    def task(self) -> Task:
        """What the labels are of."""
        return "single-label" if self.examples.labels.ndim == 1 else "multi-label"

    @property
    def score(self) -> float:
        """The accuracy; of multi-label examples the mean average precision."""
        return self.accuracy if self.task == "single-label" else self._table.mean_average_precision

    @property
    def metrics(self) -> dict[str, float]:
        """Loss and all metrics of the task by name; thresholds are those with the highest F1 scores on the examples."""
        metrics = self._single_label_metrics if self.task == "single-label" else self._table.metrics
        return {"loss": self.loss, **metrics}

    @property
    def _single_label_metrics(self) -> dict[str, float]:
        labels, answers = self.examples.labels, probabilities(self.logits).argmax(dim=1)
        classes = max(2, self.logits.shape[1])
        correct, labeled, predicted = (
            chosen.bincount(minlength=classes).tolist() for chosen in (labels[answers == labels], labels, answers)
        )
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": balanced_accuracy(correct, labeled),
            "macro_f1": macro_f1(correct, labeled, predicted),
        }

    @cached_property
    def _table(self) -> MultiLabelTable:
        return MultiLabelTable.of(self.predictions, tuple(map(str, range(self.logits.shape[1]))))
