"""Labeled examples to train or measure on, and what a model predicts for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from zoo_core.engine.compute.losses import cross_entropy, probabilities
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.events import Predictions


class Examples(Protocol):
    """Labeled inputs, by index."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""

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

    @property
    def loss(self) -> float:
        """The mean cross-entropy over the examples."""
        return cross_entropy(self.logits, self.examples.labels).item()

    @property
    def accuracy(self) -> float:
        """The fraction of examples that are classified correctly, exact: a count divided by a count."""
        correct = probabilities(self.logits).argmax(dim=1) == self.examples.labels
        return int(correct.sum().item()) / len(correct)

    @property
    def predictions(self) -> Predictions:
        """The probabilities of every example."""
        table = tuple(tuple(row) for row in probabilities(self.logits).tolist())
        return Predictions(self.examples.names, tuple(self.examples.labels.tolist()), table)
