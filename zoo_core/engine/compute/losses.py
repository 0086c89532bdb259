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


def make_loss(settings: CrossEntropy | ComponentChoice, weight: Tensor | None = None) -> Loss:
    """Return the loss of a recipe: loss(logits, labels) -> the mean over the batch.

    Args:
        settings: the recipe's `loss`.
        weight: (classes,) class weights, as `class_weights` returns them; None: all 1.

    Raises:
        UsageError: there are class weights for a plugin's loss, which does not take any.
        PluginError: from the returned function, if a plugin's loss does not return a scalar tensor.
    """
    if isinstance(settings, CrossEntropy):
        return partial(cross_entropy, label_smoothing=settings.label_smoothing, weight=weight)
    if weight is not None:
        raise unweighted(f"the loss {settings.name}")
    build = resolve(settings.component.build)
    return partial(_checked, build(**settings.settings), settings.name)


def _checked(loss: Loss, name: str, logits: Tensor, labels: Tensor) -> Tensor:
    value = loss(logits.float(), labels)
    if not isinstance(value, Tensor) or value.numel() != 1:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise PluginError(f"the loss {name} is invalid", why=f"it returned {given}, not a scalar tensor")
    return value.reshape(())


def unweighted(loss: str) -> UsageError:
    """Return the error for class weights in a loss that does not take them."""
    why = "balance weights the classes in cross-entropy alone"
    return UsageError(f"{loss} cannot be balanced", why=why, fix="zoo run RECIPE --set balance=0")


def class_weights(labels: Tensor, classes: int, balance: float) -> Tensor:
    """Return a weight for each class, (classes,) float32: (1 / frequency) ** balance, with a mean of 1 over the images.

    With `balance` 0 all weights are 1; with 1 every class that has images contributes equally to the loss. A class
    without images gets the weight that a single image would give it, which no image uses.

    Args:
        labels: (N,) int64, of the training images; N is at least 1.
        classes: how many classes there are.
        balance: between 0 and 1.
    """
    counts = labels.bincount(minlength=classes).double()
    weights = (len(labels) / counts.clamp(min=1)) ** balance
    return (weights * len(labels) / (weights * counts).sum()).float()


def cross_entropy(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the mean loss of logits (N, K) for labels (N,): binary cross-entropy with K = 1, else cross-entropy.

    With labels (N, K) of 0 and 1, which may have any number of ones, it is the mean binary cross-entropy over all N · K
    of them; label smoothing s then makes 0 to s/2, and 1 to 1 - s/2. Binary cross-entropy on logits equals a sigmoid
    followed by BCELoss, and does not overflow. With a `weight` for each class, (classes,), the loss of each image is
    multiplied by the weight of its label. The sum is divided by N, not by the batch's sum of weights as PyTorch does:
    so an epoch's loss does not depend on how it is cut into batches.

    Raises:
        UsageError: the labels are (N, K), and the model does not have one logit for each of the K classes.
    """
    if labels.ndim == 2:
        _require_one_logit_per_class(logits, labels)
        targets = labels.float() * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits.float(), targets)
    if weight is not None:
        losses = F.cross_entropy(class_logits(logits), labels, label_smoothing=label_smoothing, reduction="none")
        return (losses * weight.to(losses.device)[labels]).mean()
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
