"""Scores a configuration of a frozen backbone's head by repeated stratified cross-validation on cached features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from time import perf_counter

import torch
from torch import Tensor, nn

from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.models.build import new_head
from zoo_core.engine.training.cross_validation import ROUGH, row_weights
from zoo_core.engine.training.features import Features
from zoo_core.engine.training.folds import assign_folds
from zoo_core.engine.training.logistic import (
    PrincipalRows,
    Solution,
    Standardization,
    fit_temperature,
    losses_of,
    solve,
)
from zoo_core.engine.training.trainer import Job
from zoo_core.engine.tuning.joint_folds import held_out_logits
from zoo_core.events import drive, ignore_event
from zoo_core.recipes.recipe import Recipe
from zoo_core.registry.builtin import LogisticHeadSettings

FOLDS, REPEATS = 5, 2
LINEAR, HIDDEN = "logistic-head", "frozen-features"  # the trainers whose heads are scored


@dataclass(frozen=True)
class FoldScores:
    """The mean loss and the accuracy on the held-out images, for each fold of each repetition."""

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class HeadScorer:
    """The features that heads are scored on, of one backbone; `job` is one with its model."""

    features: Features  # with the rows in memory
    job: Job
    _principal: dict[bool, PrincipalRows] = field(default_factory=dict)  # by whether they are standardized

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.features.labels

    @property
    def rows(self) -> Tensor:
        """(N, D) float32."""
        assert isinstance(self.features.rows, Tensor)
        return self.features.rows

    def score(self, recipe: Recipe) -> FoldScores:
        """Return the scores of the head that the recipe trains, by one of the trainers LINEAR and HIDDEN.

        Of several strengths, the best one over all folds counts.
        """
        seeds = [recipe.seed + 1000 * repeat for repeat in range(REPEATS)]
        repeats = [assign_folds(self.labels, FOLDS, seed, self.features.groups) for seed in seeds]
        if recipe.trainer == LINEAR:
            table = [self._calibrated(logits, repeats) for logits in self._linear(recipe, repeats)]
        else:
            table = [torch.stack([self._trained(recipe, assigned) for assigned in repeats])]
        scored = [self._by_fold(logits, repeats) for logits in table]
        by_accuracy = recipe.settings.get("criterion") == "accuracy"
        return min(scored, key=lambda one: -fmean(one.accuracies) if by_accuracy else fmean(one.losses))

    def _linear(self, recipe: Recipe, repeats: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the held-out logits of logistic regression (repeats, N, K) float64 for each strength."""
        settings = LogisticHeadSettings.model_validate(dict(recipe.settings))
        strengths = sorted(settings.strengths, reverse=True)
        folds = torch.stack([assigned == fold for assigned in repeats for fold in range(int(assigned.max()) + 1)])
        principal = self._rotated(settings.standardize)
        weights = row_weights(self.labels, self._classes, recipe.balance)  # scores do not use them
        for logits in held_out_logits(principal, self.labels, weights, folds, strengths):
            chosen = torch.where(folds[:, :, None], logits, 0.0)
            yield chosen.reshape(len(repeats), -1, *logits.shape[1:]).sum(dim=1)

    def _calibrated(self, logits: Tensor, repeats: Sequence[Tensor]) -> Tensor:
        """Divide the logits of each repetition (repeats, N, K) by its temperature, as the trainer does."""
        pairs = [
            (one[assigned >= 0], self.labels[assigned >= 0]) for one, assigned in zip(logits, repeats, strict=True)
        ]
        temperatures = torch.tensor([fit_temperature(*pair) for pair in pairs], dtype=logits.dtype)
        return logits / temperatures[:, None, None]

    def _trained(self, recipe: Recipe, assigned: Tensor) -> Tensor:
        """Return the held-out logits (N, K) of a head that is trained by minibatches, as the recipe says."""
        logits = torch.full((len(self.rows), self._classes), float("nan"))
        job = self.job
        for fold in range(int(assigned.max()) + 1):
            held = assigned == fold
            seed_torch(recipe.seed, "build")
            head = new_head(nn.Linear(self.rows.shape[1], 1), recipe.head_units or 0, self._classes)
            precision = replace(job.precision, dtype=torch.float32)
            loop = replace(job.loop(head), recipe=recipe, precision=precision)
            drive(loop.train(self._part(~held), {}, None), ignore_event)  # type: ignore[arg-type]
            logits[held] = drive(loop.measure(self._part(held), what="held-out"), ignore_event).logits
        return logits.double()

    def _part(self, chosen: Tensor) -> Features:
        indices = chosen.nonzero()[:, 0]
        names = tuple(self.features.names[index] for index in indices.tolist())
        return Features(self.rows[indices], self.labels[indices], names)

    def _by_fold(self, logits: Tensor, repeats: Sequence[Tensor]) -> FoldScores:
        """Return the scores of held-out logits (repeats, N, K)."""
        losses, accuracies = list[float](), list[float]()
        for one, assigned in zip(logits, repeats, strict=True):
            for fold in range(int(assigned.max()) + 1):
                held = assigned == fold
                losses.append(losses_of(one[held], self.labels[held]).mean().item())
                accuracies.append(one[held].argmax(dim=1).eq(self.labels[held]).double().mean().item())
        return FoldScores(tuple(losses), tuple(accuracies))

    def seconds_per_fit(self) -> float:
        """Measure how long one fit of logistic regression takes on all images."""
        principal, seconds = self._rotated(True), 0.0
        weights = torch.ones(len(self.labels), dtype=torch.float64)
        start = Solution.zero(self._classes, principal.rows.shape[1])
        for strength in (10.0, 0.1):  # the first one warms up
            began = perf_counter()
            solve(
                principal.rows,
                self.labels,
                weights,
                principal.variance,
                strength=strength,
                start=start,
                tolerance=ROUGH,
            )
            seconds = perf_counter() - began
        return seconds

    def _rotated(self, standardize: bool) -> PrincipalRows:
        if standardize not in self._principal:
            standard = Standardization.of(self.rows, each=standardize)
            self._principal[standardize] = PrincipalRows.of(standard.apply(self.rows))
        return self._principal[standardize]

    @property
    def _classes(self) -> int:
        return len(self.job.plan.classes)


def in_memory(features: Features, most: int, seed: int) -> Features:
    """Return features with the rows in memory: at most so many, drawn at random."""
    count = len(features.labels)
    if isinstance(features.rows, Tensor) and count <= most:
        return features
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values
    rows = torch.cat(list(features.stream(_batches(drawn), 0)))
    names = tuple(features.names[index] for index in drawn.tolist())
    return Features(rows, features.labels[drawn], names, None if features.groups is None else features.groups[drawn])


def _batches(indices: Tensor) -> Sequence[Tensor]:
    return torch.split(indices, 1024)
