"""What a trainer is: it is given a job, and yields what happens; the caller shows and writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torchvision.transforms import v2

from zoo_core.engine.arithmetic import Arithmetic
from zoo_core.engine.data import ImageSet, preprocessing
from zoo_core.engine.ranks import ALONE, Ranks
from zoo_core.plans import Plan
from zoo_core.results import Event, TrainState, never
from zoo_core.store import Store


@dataclass(frozen=True)
class Job:
    """All that a trainer needs. It trains `model` in place."""

    model: nn.Module
    train: ImageSet
    validation: ImageSet | None
    plan: Plan
    store: Store
    device: torch.device
    ranks: Ranks = ALONE  # the processes that share the work; the caller alone writes, whatever a trainer yields
    due: Callable[[], bool] = never  # whether the caller would save a Checkpoint now; asked as often as one likes

    @property
    def arithmetic(self) -> Arithmetic:
        """In what to compute: the recipe's precision, on this device."""
        return Arithmetic.pick(self.plan.recipe.precision, self.device)

    @property
    def preprocessing(self) -> v2.Compose:
        """The steps from a PIL image to the (C, size, size) float32 tensor that the model sees."""
        return preprocessing(self.plan.input)


class Trainer(Protocol):
    """One way to train, of no state of its own between calls."""

    def fit(self, job: Job, resume: TrainState | None) -> Iterator[Event]:
        """Train, from the start or from a state that a Checkpoint carried.

        Yields Progress as often as it likes, an EpochResult after each epoch, and a Checkpoint wherever its state may
        be saved: after each epoch, and inside one when `job.due()` says so. The caller saves those that it wants. On
        the same machine, going on from a Checkpoint gives what going through would have given.

        Raises:
            Diverged: the loss is no finite number.
            UsageError: the plan asks for what this trainer cannot do.
        """
