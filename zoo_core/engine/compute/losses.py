"""Losses and probabilities for models with one logit for two classes, or one logit per class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of logits (N, K) for labels (N,): binary cross-entropy with K = 1, else cross-entropy.

    Binary cross-entropy on logits equals a sigmoid followed by BCELoss, and does not overflow.
    """
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), labels.float())
    return F.cross_entropy(logits.float(), labels)


def class_logits(logits: Tensor) -> Tensor:
    """Return one float32 logit per class, (N, classes), for logits (N, K).

    A model for two classes may have a single logit z, for the second class. The sigmoid of z is the softmax of (0, z)
    at every temperature, so (N, 1) becomes (N, 2).
    """
    logits = logits.float()
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def probabilities(logits: Tensor) -> Tensor:
    """Return (N, classes) probabilities for logits (N, K); with K = 1 they are [1 - p, p]."""
    if logits.shape[1] == 1:
        positive = logits.float().sigmoid()
        return torch.cat([1 - positive, positive], dim=1)
    return logits.float().softmax(dim=1)
