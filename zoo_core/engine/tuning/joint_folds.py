"""Logistic regression on all folds of a cross-validation at the same time: one L-BFGS instead of one for each fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_core.engine.training.cross_validation import ROUGH
from zoo_core.engine.training.logistic import CURVATURE, PrincipalRows, minimize


def held_out_logits(
    principal: PrincipalRows, labels: Tensor, weights: Tensor, folds: Tensor, strengths: Sequence[float]
) -> Iterator[Tensor]:
    """Yield the logits (F, N, K) of every fold's head for all images, for each strength in turn.

    The objective is the sum of the folds' own, which share nothing: the solutions are those of separate fits.

    Args:
        principal: the rows (N, R).
        labels: (N,) int64, all classes included.
        weights: the weight of each image's loss (N,).
        folds: whether an image is held out, (F, N).
        strengths: of the L2 penalty; each fit starts from the one before, so the strongest comes first.
    """
    rows, classes = principal.rows, int(labels.max()) + 1
    share = (~folds * weights / (~folds).sum(dim=1, keepdim=True)).T  # (N, F)
    targets = labels.repeat_interleave(len(folds))
    plain = torch.zeros(len(folds), classes, rows.shape[1], dtype=torch.float64)
    bias = torch.zeros(len(folds), classes, dtype=torch.float64, requires_grad=True)
    for strength in strengths:
        step = (strength + CURVATURE * principal.variance).rsqrt()
        scaled, weight = rows * step, (plain / step).requires_grad_()

        def logits_of(scaled: Tensor, weight: Tensor) -> Tensor:
            return (scaled @ weight.flatten(0, 1).T).reshape(len(scaled), *bias.shape) + bias

        def objective(
            scaled: Tensor = scaled, weight: Tensor = weight, step: Tensor = step, strength: float = strength
        ) -> Tensor:
            each = F.cross_entropy(logits_of(scaled, weight).flatten(0, 1), targets, reduction="none")
            return (each.reshape(share.shape) * share).sum() + strength / 2 * (weight * step).square().sum()

        minimize(objective, [weight, bias], ROUGH)
        plain = weight.detach() * step
        with torch.no_grad():
            yield logits_of(scaled, weight).transpose(0, 1)
