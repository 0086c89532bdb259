"""Losses and probabilities for models with one logit for two classes, or one logit per class.

Labels (N,) int64 name one class per image; those of multi-label data are (N, K) float32, 1 where an image has a class.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.cards.fields import resolve
from zoo_core.errors import PluginError, UsageError
from zoo_core.recipes.component_choice import ComponentChoice
from zoo_core.recipes.settings import CrossEntropy

Loss = Callable[..., Tensor]  # loss(logits, *targets) -> the mean over the batch, a scalar


def make_loss(settings: CrossEntropy | ComponentChoice) -> Loss:
    """Return the loss of a recipe: loss(logits, labels) -> the mean over the batch.

    Raises:
        PluginError: from the returned function, if a plugin's loss does not return a scalar tensor.
    """
    if isinstance(settings, CrossEntropy):
        return partial(cross_entropy, label_smoothing=settings.label_smoothing)
    build = resolve(settings.component.build)
    return partial(_checked, build(**settings.settings), settings.name)


def _checked(loss: Loss, name: str, logits: Tensor, labels: Tensor) -> Tensor:
    value = loss(logits.float(), labels)
    if not isinstance(value, Tensor) or value.numel() != 1:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise PluginError(f"the loss {name} is invalid", why=f"it returned {given}, not a scalar tensor")
    return value.reshape(())


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean loss of logits (N, K) for labels (N,): binary cross-entropy with K = 1, else cross-entropy.

    With labels (N, K) of 0 and 1, which may have any number of ones, it is the mean binary cross-entropy over all N · K
    of them; label smoothing s then makes 0 to s/2, and 1 to 1 - s/2. Binary cross-entropy on logits equals a sigmoid
    followed by BCELoss, and does not overflow.

    Raises:
        UsageError: the labels are (N, K), and the model does not have one logit for each of the K classes.
    """
    if labels.ndim == 2:
        _require_one_logit_per_class(logits, labels)
        targets = labels.float() * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits.float(), targets)
    if label_smoothing:
        return F.cross_entropy(class_logits(logits), labels, label_smoothing=label_smoothing)
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), labels.float())
    return F.cross_entropy(logits.float(), labels)


def _require_one_logit_per_class(logits: Tensor, labels: Tensor) -> None:
    if logits.shape != labels.shape:
        raise UsageError(
            f"the model has {logits.shape[1]} output{'s'[: logits.shape[1] > 1]} for {labels.shape[1]} classes",
            why="an image may have any number of these classes, so each needs an output of its own",
            fix="zoo run RECIPE --set head_units=0",
        )


def class_logits(logits: Tensor) -> Tensor:
    """Return one float32 logit per class, (N, classes), for logits (N, K).

    A model for two classes may have a single logit z, for the second class. The sigmoid of z is the softmax of (0, z)
    at every temperature, so (N, 1) becomes (N, 2).
    """
    logits = logits.float()
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def probabilities(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Return (N, classes) probabilities for logits (N, K); with K = 1 they are [1 - p, p].

    Those of multi-label data are independent: each is the sigmoid of its logit.
    """
    if multi_label:
        return logits.float().sigmoid()
    if logits.shape[1] == 1:
        positive = logits.float().sigmoid()
        return torch.cat([1 - positive, positive], dim=1)
    return logits.float().softmax(dim=1)
