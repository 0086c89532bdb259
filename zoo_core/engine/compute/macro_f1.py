"""The macro-averaged F1 score."""

from __future__ import annotations

from torch import Tensor

from zoo_core.engine.compute.as_predictions import predictions_of
from zoo_core.engine.compute.losses import class_logits
from zoo_core.multi_label import MultiLabelTable


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """Return the unweighted mean of the F1 scores of all classes that are labeled or predicted, between 0 and 1.

    Multi-label predictions, with labels (N, K), are made at the thresholds with the highest F1 scores.
    """
    if labels.ndim == 2:
        names, columns = (tuple(map(str, range(count))) for count in labels.shape)
        return MultiLabelTable.of(predictions_of(logits, labels, names), columns).metrics["macro_f1"]
    per_class = class_logits(logits)
    predictions, classes = per_class.argmax(dim=1), per_class.shape[1]
    correct = labels[predictions == labels].bincount(minlength=classes)
    total = labels.bincount(minlength=classes) + predictions.bincount(minlength=classes)
    present = total > 0
    return float((2 * correct[present] / total[present]).mean())
