"""The macro-averaged F1 score."""

from __future__ import annotations

from torch import Tensor

from zoo_core.engine.compute.losses import class_logits


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Return the unweighted mean of the F1 scores of all classes that are labeled or predicted, between 0 and 1."""
    per_class = class_logits(logits)
    predictions, classes = per_class.argmax(dim=1), per_class.shape[1]
    correct = labels[predictions == labels].bincount(minlength=classes)
    total = labels.bincount(minlength=classes) + predictions.bincount(minlength=classes)
    present = total > 0
    return float((2 * correct[present] / total[present]).mean())
