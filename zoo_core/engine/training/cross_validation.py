"""A linear head by logistic regression, its strength chosen by cross-validation inside the images it is trained on.

    fitted = drive(fit_head(rows, labels, classes=10), ignore_event)
    fitted.cross_validation_accuracy, fitted.strength
    logits = fitted.logits(other_rows)

Everything is computed in float64 and without random draws other than the folds, which the seed decides: the same rows
give the same head.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo_core.engine.compute.losses import class_weights
from zoo_core.engine.training.folds import assign_folds
from zoo_core.engine.training.logistic import (
    PrincipalRows,
    Solution,
    Standardization,
    fit_temperature,
    losses_of,
    solve,
)
from zoo_core.errors import DataError
from zoo_core.events import Event, Progress
from zoo_core.registry.builtin import STRENGTHS

Criterion = Literal["loss", "accuracy"]
ROUGH = 1e-4  # tolerance of the fits that only compare strengths


@dataclass(frozen=True)
class Scores:
    """How the held-out images of all folds are classified, by strength: strongest first."""

    strengths: tuple[float, ...]
    losses: tuple[float, ...]  # mean over the held-out images
    accuracies: tuple[float, ...]

    def best(self, criterion: Criterion) -> int:
        """Return the index of the best strength; of two that are equal, the one with the smaller loss."""
        rank = self.losses if criterion == "loss" else tuple(-accuracy for accuracy in self.accuracies)
        return min(range(len(rank)), key=lambda number: (rank[number], self.losses[number], number))


@dataclass(frozen=True)
class FittedHead:
    """A linear head for plain features: standardization and temperature are folded in.

    `weight` (K, D) and `bias` (K,) are float64. `held_out` (N, K) are the logits of each image from the fold that was
    not trained on it, with the temperature; NaN for the only image of a class, which is in no such fold. A head
    that was fitted on streamed features has those of the held-out part alone.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    temperature: float
    scores: Scores
    held_out: Tensor

    @property
    def cross_validation_accuracy(self) -> float:
        """The accuracy on held-out images at the chosen strength."""
        return self.scores.accuracies[self.scores.strengths.index(self.strength)]

    @property
    def cross_validation_loss(self) -> float:
        """The mean loss on held-out images at the chosen strength, before the temperature."""
        return self.scores.losses[self.scores.strengths.index(self.strength)]

    @classmethod
    def of(
        cls,
        solution: Solution,
        standard: Standardization,
        scores: Scores,
        best: int,
        held_out: Tensor,
        targets: Tensor,
    ) -> FittedHead:
        """Fold the standardization and a temperature into a solution (K, D) on standardized features.

        Args:
            solution: the weight and bias for the strength number `best` of the scores.
            standard: of the features.
            scores: of all strengths.
            best: the number of the chosen strength.
            held_out: its logits (H, K) on the held-out images, which the temperature is fitted on; a row of NaN belongs
                to an image that is never held out.
            targets: of the same images.
        """
        seen = ~held_out.isnan().any(dim=1)
        temperature = fit_temperature(held_out[seen], targets[seen])
        weight, bias = standard.fold(solution.weight, solution.bias)
        strength = scores.strengths[best]
        return cls(weight / temperature, bias / temperature, strength, temperature, scores, held_out / temperature)

    def logits(self, rows: Tensor) -> Tensor:
        """Return (N, K) float64 for features (N, D)."""
        return rows.double() @ self.weight.T + self.bias


def fit_head(
    rows: Tensor,
    targets: Tensor,
    groups: Tensor | None = None,
    *,
    classes: int,
    folds: int = 5,
    strengths: Sequence[float] = STRENGTHS,
    criterion: Criterion = "loss",
    balance: float = 0.0,
    standardize: bool = False,
    seed: int = 0,
) -> Generator[Event, None, FittedHead]:
    """Fit a linear head, and yield the progress of the fits.

    Args:
        rows: features (N, D).
        targets: labels (N,) int64; or (N, K) of 0 and 1, for one regression against the rest per class.
        groups: the number of each image's group (N,), which is in one fold as a whole; None: each image is on its own.
        classes: K.
        folds: how many parts the images are divided into, each with the same share of every class.
        strengths: of the L2 penalty on scaled features, in any order; see `logistic`.
        criterion: what the strengths are compared by, on held-out images.
        balance: class weights, as in `class_weights`.
        standardize: whether each feature is scaled to variance 1; otherwise all are scaled by one factor. Means and
            variances are those of all rows, also in the folds; they use no labels.
        seed: decides the folds.

    Raises:
        DataError: a feature is NaN or infinite, or no class has two images, or two groups.
    """
    if not rows.isfinite().all():
        raise DataError("the features contain NaN or infinity", why="the backbone's weights or its precision overflow")
    standard = Standardization.of(rows, each=standardize)
    principal = PrincipalRows.of(standard.apply(rows))
    assigned = assign_folds(targets, folds, seed, groups)
    weights = row_weights(targets, classes, balance)
    fits = _Fits(principal, targets, weights, classes)
    ordered = tuple(sorted(strengths, reverse=True))
    held_out = yield from fits.held_out_logits(assigned, ordered)
    seen = assigned >= 0
    scores = Scores(ordered, *held_out_scores(held_out[:, seen], targets[seen], weights[seen]))
    best = scores.best(criterion)
    final = Solution.zero(classes, principal.rows.shape[1])
    for strength in ordered[: best + 1]:  # along the path again: each solution is close to the next
        final = fits.solve(torch.ones(len(rows), dtype=torch.bool), strength, final, rough=strength != ordered[best])
    plain = Solution(final.weight @ principal.basis.T, final.bias)
    return FittedHead.of(plain, standard, scores, best, held_out[best], targets)


@dataclass(frozen=True)
class _Fits:
    """Fits on subsets of the same rows."""

    principal: PrincipalRows
    targets: Tensor
    weights: Tensor
    classes: int

    def solve(self, chosen: Tensor, strength: float, start: Solution, *, rough: bool) -> Solution:
        """Fit on the chosen rows, a (N,) mask."""
        options = {"tolerance": ROUGH} if rough else {}
        rows, targets, weights = (part[chosen] for part in (self.principal.rows, self.targets, self.weights))
        return solve(rows, targets, weights, self.principal.variance, strength=strength, start=start, **options)

    def held_out_logits(self, assigned: Tensor, strengths: Sequence[float]) -> Generator[Event, None, Tensor]:
        """Return the logits of each image by the fold that holds it out: (strengths, N, K)."""
        folds = int(assigned.max()) + 1
        rows, width = self.principal.rows, self.principal.rows.shape[1]
        logits = rows.new_full((len(strengths), len(rows), self.classes), float("nan"))
        for fold in range(folds):
            held, solution = assigned == fold, Solution.zero(self.classes, width)
            for number, strength in enumerate(strengths):
                solution = self.solve(~held, strength, solution, rough=True)
                logits[number, held] = solution.logits(rows[held])
                done = fold * len(strengths) + number + 1
                yield Progress("cross-validation", done, folds * len(strengths), "fits")
        return logits


def row_weights(targets: Tensor, classes: int, balance: float) -> Tensor:
    """Return the weight of each image's loss (N,) float64, with mean 1; all are 1 for several labels per image."""
    if targets.ndim > 1 or balance == 0:
        return torch.ones(len(targets), dtype=torch.float64)
    return class_weights(targets, classes, balance).double()[targets]


def held_out_scores(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean loss and the accuracy for each strength, of logits (strengths, N, K); both weighted.

    For multi-label targets (N, K), these are means over images and classes.
    """
    share = weights / targets[0].numel()
    losses = [(losses_of(one, targets) * share).mean().item() for one in logits]
    if targets.ndim == 1:
        correct = [((one.argmax(dim=1) == targets) * weights).sum() / weights.sum() for one in logits]
    else:
        correct = [((one > 0) == (targets > 0)).double().mean() for one in logits]
    return tuple(losses), tuple(value.item() for value in correct)
