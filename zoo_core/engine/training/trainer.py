"""What a trainer is: it is given a job, and yields what happens; the caller shows and writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torchvision.transforms import v2

from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.events import Event, TrainState, never_due
from zoo_core.images.image_sets import ImageSet
from zoo_core.recipes import Plan
from zoo_core.store.store import Store


@dataclass(frozen=True)
class Job:
    """All that a trainer needs. It trains `model` in place."""

    model: nn.Module
    train: ImageSet
    validation: ImageSet | None
    plan: Plan
    store: Store
    device: torch.device
    world: World = (
        SINGLE_PROCESS  # the processes that share the work; the caller alone writes, whatever a trainer yields
    )
    due: Callable[[], bool] = never_due  # whether the caller would save a Checkpoint now; asked as often as one likes

    @property
    def precision(self) -> Precision:
        """In what to compute: the recipe's precision, on this device."""
        return Precision.pick(self.plan.recipe.precision, self.device)

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
