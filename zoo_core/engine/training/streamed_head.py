"""Logistic regression on features that do not fit into memory, or are too many for L-BFGS: by minibatches of AdamW.

The heads of all strengths are trained at the same time, in one pass over the features for each epoch. A random part of
the images is held out: it decides which strength is chosen, and the temperature.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo_core.engine.training.cross_validation import FittedHead, Scores, held_out_scores, row_weights
from zoo_core.engine.training.features import Features
from zoo_core.engine.training.logistic import Solution, Standardization, losses_of
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import DataError
from zoo_core.events import EpochResult, Event, TrainState
from zoo_core.recipes.settings import AdamW
from zoo_core.registry.builtin import LogisticHeadSettings

BATCH, RATE = 1024, 3e-3
EPOCHS, STEPS = 5, 300  # at least as many epochs, and at least as many steps
HELD_OUT, MOST_HELD_OUT = 0.1, 50_000  # share of the images that is held out, and how many at most
COST = 5 * 10**9  # images * features * classes: above this, L-BFGS would take over ten minutes on two cores


@dataclass(frozen=True)
class HeldOut:
    """Which images are held out: a mask (N,), and their indices in order."""

    mask: Tensor
    indices: Tensor

    @classmethod
    def of(cls, count: int, seed: int, groups: Tensor | None = None) -> HeldOut:
        """Draw them at random, in whole groups (N,): the last one may make them a few more.

        Raises:
            DataError: all images are in one group.
        """
        groups = torch.arange(count) if groups is None else groups
        most, sizes = max(1, min(MOST_HELD_OUT, int(HELD_OUT * count))), groups.bincount()
        drawn = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
        taken = torch.zeros(len(sizes), dtype=torch.bool)
        taken[drawn[sizes[drawn].cumsum(0) - sizes[drawn] < most]] = True
        mask = taken[groups]
        if mask.all():
            raise DataError("no images can be held out", why="all training images are in one group")
        return cls(mask, mask.nonzero()[:, 0])


class ParallelHeads(nn.Module):
    """A linear head for each strength, on the same standardized features: (n, D) to logits (n, strengths, K)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, standard: Standardization, strengths: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", standard.mean.float())
        self.register_buffer("scale", standard.scale.float())
        self.weight = nn.Parameter(torch.zeros(strengths, classes, len(standard.mean)))
        self.bias = nn.Parameter(torch.zeros(strengths, classes))

    def forward(self, rows: Tensor) -> Tensor:
        """Return (n, strengths, K) for features (n, D)."""
        flat = nn.functional.linear((rows - self.mean) * self.scale, self.weight.flatten(0, 1), self.bias.flatten())
        return flat.reshape(len(rows), *self.bias.shape)


def fit_streamed(
    features: Features, job: Job, settings: LogisticHeadSettings, resume: TrainState | None
) -> Generator[Event, None, FittedHead]:
    """Fit a linear head on features (N, D) in files, and yield progress and checkpoints; ranks share the batches."""
    recipe, classes = job.plan.recipe, len(job.plan.classes)
    strengths = tuple(sorted(settings.strengths, reverse=True))
    rows = features.rows
    chunks = torch.split(rows, BATCH) if isinstance(rows, Tensor) else rows.chunks()
    standard = Standardization.of_chunks(chunks, each=settings.standardize)
    heads = ParallelHeads(standard, len(strengths), classes)
    held = HeldOut.of(len(features.labels), recipe.seed, features.groups)
    penalty = torch.tensor(strengths)

    def loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        each = torch.stack([losses_of(one, targets) for one in logits.unbind(dim=1)])
        return (each * weights).mean(dim=1).sum() + (penalty / 2 * heads.weight.square().sum(dim=(1, 2))).sum()

    adapted = recipe.model_copy(
        update={
            "epochs": max(EPOCHS, STEPS * BATCH // len(features.labels)),
            "batch_size": BATCH,
            "optimizer": AdamW(name="adamw", lr=RATE, weight_decay=0.0),
            "schedule": "cosine",
            "metrics": (),
        }
    )
    loop = replace(job.loop(heads), recipe=adapted, precision=replace(job.precision, dtype=torch.float32))
    weights = row_weights(features.labels, classes, recipe.balance).float()
    weights[held.mask] = 0
    for event in loop.train(features, {}, resume, loss=loss, targets=(features.labels, weights)):
        if not isinstance(event, EpochResult):
            yield event
    logits = _held_out_logits(heads, features, held)
    return _best(heads, logits, features.labels[held.indices], strengths, settings)


@torch.no_grad()
def _held_out_logits(heads: ParallelHeads, features: Features, held: HeldOut) -> Tensor:
    """Return (strengths, H, K) float64."""
    heads.cpu().eval()
    batches = torch.split(held.indices, features.inference_batch_size)
    return torch.cat([heads(rows).double() for rows in features.stream(batches, 0)]).transpose(0, 1)


def _best(
    heads: ParallelHeads,
    logits: Tensor,
    targets: Tensor,
    strengths: tuple[float, ...],
    settings: LogisticHeadSettings,
) -> FittedHead:
    scores = Scores(strengths, *held_out_scores(logits, targets, torch.ones(len(targets), dtype=torch.float64)))
    best = scores.best(settings.criterion)
    standard = Standardization(heads.mean.double(), heads.scale.double())
    solution = Solution(heads.weight[best].detach().double(), heads.bias[best].detach().double())
    return FittedHead.of(solution, standard, scores, best, logits[best], targets)
