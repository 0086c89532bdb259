"""The `supervised` trainer: every parameter learns from labelled images."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_core.engine.data.augmentation import augmentation
from zoo_core.engine.data.loaders import examples_of
from zoo_core.engine.models.build import freeze_until
from zoo_core.engine.training.loop import Examples, TrainingLoop
from zoo_core.engine.training.trainer import Job
from zoo_core.events import Event, TrainState
from zoo_core.registry.builtin import SupervisedSettings


class SupervisedTrainer:
    """Trains the whole model, or what `freeze_until` leaves of it.

    After each epoch it measures, in evaluation mode: `train_accuracy` over the training images as they are trained on
    (through the augmentation, with draws of their own), and `validation_accuracy` over the clean validation images.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place."""
        settings = SupervisedSettings.model_validate(job.plan.settings)
        recipe, spec = job.plan.recipe, job.plan.input
        if settings.freeze_until is not None:
            freeze_until(job.model, settings.freeze_until)
        steps = augmentation(recipe.augment) if recipe.augment else None
        images = examples_of(job.train, spec, hold_bytes=settings.hold_bytes, world=job.world)
        measures: dict[str, Examples] = {"train_accuracy": images.augmented_by(steps, (recipe.seed, "measure train"))}
        if job.validation is not None:
            clean = examples_of(job.validation, spec, hold_bytes=settings.hold_bytes, world=job.world)
            measures["validation_accuracy"] = clean
            if settings.validate_through_augmentation:
                measures["validation_accuracy_augmented"] = clean.augmented_by(
                    steps, (recipe.seed, "measure validation")
                )
        train_on = images.augmented_by(steps, (recipe.seed, "train"))
        loop = TrainingLoop(job.model, recipe, job.device, job.precision, job.world, job.due)
        yield from loop.train(train_on, measures, resume)
