"""A trainer gets a job and yields events; the caller displays and saves them.

Most trainers do not need a loop: `Job.loop` applies the recipe's optimizer, schedule, augmentation, precision,
batch size, epochs and seed, and takes care of checkpoints, several processes and metrics:

    def label_smoothing(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(zoo.class_logits(logits), labels, label_smoothing=0.1)

    class LabelSmoothing:
        def fit(self, job: zoo.Job, resume: zoo.TrainState | None) -> Iterator[zoo.Event]:
            train = job.examples("train")
            yield from job.loop().train(train, job.measures(train), resume, loss=label_smoothing)

A loss may use more than the labels: `targets` are tensors with one row per example, such as a teacher's logits or the
0/1 matrix of a multi-label task. A trainer that does not use every field of the recipe lists those it uses in
`TrainerCard.uses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn
from torchvision.transforms import v2

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.data.augmentation import augmentation
from zoo_core.engine.data.loaders import InMemoryImages, StreamedImages, load_examples
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.engine.training.examples import Examples
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.errors import DataError
from zoo_core.events import Event, TrainState, never_due
from zoo_core.images.image_sets import ImageSet
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.settings import CutMix, MixUp
from zoo_core.store.store import Store


@dataclass(frozen=True)
class Job:
    """Everything a trainer needs. It trains `model` in place."""

    model: nn.Module
    train: ImageSet
    validation: ImageSet | None
    plan: Plan
    store: Store
    device: torch.device
    world: World = SINGLE_PROCESS  # the processes that share the work; the caller writes files on the first rank only
    due: Callable[[], bool] = never_due  # whether the caller wants a Checkpoint now; cheap to call

    @property
    def precision(self) -> Precision:
        """The recipe's precision on this device."""
        return Precision.pick(self.plan.recipe.precision, self.device)

    @property
    def preprocessing(self) -> v2.Compose:
        """The transform from a PIL image to the (C, size, size) float32 tensor that the model gets."""
        return preprocessing(self.plan.input)

    @property
    def augmentation(self) -> v2.Compose | None:
        """The recipe's random transform of a PIL image, without mixup and CutMix; None: it has none."""
        steps = [step for step in self.plan.recipe.augment if not isinstance(step, MixUp | CutMix)]
        return augmentation(steps) if steps else None

    def loop(self, model: nn.Module | None = None) -> TrainingLoop:
        """Return a loop that trains a model according to the recipe.

        Args:
            model: the part of the job's model to train, or another one; None: the job's model.
        """
        recipe = self.plan.recipe
        return TrainingLoop(model or self.model, recipe, self.device, self.precision, self.world, self.due)

    def examples(
        self,
        split: Literal["train", "validation"],
        *,
        input: ImageInput | None = None,
        max_bytes: int | None = None,
    ) -> InMemoryImages | StreamedImages:
        """Return a split's images as tensors; training images go through the recipe's augmentation.

        `.clean` is the same images without augmentation; they are not decoded again.

        Args:
            split: "train" or "validation".
            input: the preprocessing; None: that of the plan.
            max_bytes: decoded images of up to this size stay in memory; None: an eighth of the machine's. Larger sets
                are decoded by worker processes in every epoch.

        Raises:
            DataError: there are no validation images, or an image is damaged.
        """
        images = self.train if split == "train" else self.validation
        if images is None:
            raise DataError(f"{self.plan.dataset.name} has no validation images")
        examples = load_examples(images, input or self.plan.input, max_bytes=max_bytes, world=self.world)
        if split == "validation" or self.augmentation is None:
            return examples
        return examples.with_augmentation(self.augmentation, (self.plan.recipe.seed, "train"))

    def measures(self, train: InMemoryImages | StreamedImages) -> dict[str, Examples]:
        """Return what to measure after each epoch: accuracy on clean training and, if any, validation images."""
        measures: dict[str, Examples] = {"train_accuracy": train.clean}
        if self.validation is not None:
            measures["validation_accuracy"] = self.examples("validation")
        return measures


class Trainer(Protocol):
    """One way to train; it keeps no state between calls."""

    def fit(self, job: Job, resume: TrainState | None) -> Iterator[Event]:
        """Train from the start, or from the state of a Checkpoint.

        Yields any number of Progress events, an EpochResult after each epoch, and a Checkpoint wherever its state may
        be saved: after each epoch, and inside one whenever `job.due()` is true. The caller saves those it needs. On
        the same machine, a resumed run must give the same result as an uninterrupted one.

        Raises:
            Diverged: the loss is NaN or infinite. The caller raises it for a metric that is.
            UsageError: the plan asks for something this trainer cannot do. What `TrainerCard.uses` excludes is refused
                before `fit` is called. Any other exception from a plugin is reported as a PluginError.
        """
