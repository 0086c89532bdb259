"""The `supervised` trainer: every parameter learns from labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor
from torchvision.transforms import v2 as T

from zoo_core.engine.augment import augmentation, augmented
from zoo_core.engine.build import freeze_until
from zoo_core.engine.data import Pixels, decode, scaling
from zoo_core.engine.loop import train
from zoo_core.engine.trainer import Job
from zoo_core.results import Event, TrainState
from zoo_core.trainers import SupervisedSettings


@dataclass(frozen=True)
class ImageExamples:
    """Decoded images on their way into a model: augmented, where `steps` are given, then normalised."""

    decoded: Pixels
    scale: T.Compose
    steps: T.Compose | None = None
    place: tuple[int | str, ...] = ()  # what the random draws depend on, beside epoch and index

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.decoded.labels

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each image."""
        return self.decoded.names

    def inputs(self, indices: Tensor, epoch: int) -> Tensor:
        """Return (n, C, H, W) float32."""
        pixels = self.decoded.pixels[indices]
        if self.steps is not None:
            pixels = augmented(pixels, self.steps, (*self.place, epoch), indices)
        scaled: Tensor = self.scale(pixels)
        return scaled


class Supervised:
    """Trains the whole model on images that are held decoded in memory.

    After each epoch it measures, in evaluation mode: `train_accuracy` over the training images as they are trained on
    (through the augmentation, with draws of their own), and `validation_accuracy` over the clean validation images.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place."""
        settings = SupervisedSettings.model_validate(job.plan.settings)
        recipe = job.plan.recipe
        if settings.freeze_until is not None:
            freeze_until(job.model, settings.freeze_until)
        steps = augmentation(recipe.augment) if recipe.augment else None
        clean = ImageExamples(decode(job.train, job.plan.input), scaling(job.plan.input))
        train_on = replace(clean, steps=steps, place=(recipe.seed, "train"))
        measures = {"train_accuracy": replace(train_on, place=(recipe.seed, "measure train"))}
        if job.validation is not None:
            validation = replace(clean, decoded=decode(job.validation, job.plan.input))
            measures["validation_accuracy"] = validation
            if settings.validate_through_augmentation:
                augmented_too = replace(validation, steps=steps, place=(recipe.seed, "measure validation"))
                measures["validation_accuracy_augmented"] = augmented_too
        yield from train(job.model, train_on, measures, recipe, device=job.device, resume=resume)
