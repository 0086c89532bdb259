"""The `supervised` trainer: every parameter learns from labelled images."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_core.engine.augment import augmentation
from zoo_core.engine.build import freeze_until
from zoo_core.engine.examples import examples_of
from zoo_core.engine.loop import Examples, Loop
from zoo_core.engine.trainer import Job
from zoo_core.results import Event, TrainState
from zoo_core.trainers import SupervisedSettings


class Supervised:
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
        images = examples_of(job.train, spec, hold_bytes=settings.hold_bytes, ranks=job.ranks)
        measures: dict[str, Examples] = {"train_accuracy": images.drawn(steps, (recipe.seed, "measure train"))}
        if job.validation is not None:
            clean = examples_of(job.validation, spec, hold_bytes=settings.hold_bytes, ranks=job.ranks)
            measures["validation_accuracy"] = clean
            if settings.validate_through_augmentation:
                measures["validation_accuracy_augmented"] = clean.drawn(steps, (recipe.seed, "measure validation"))
        train_on = images.drawn(steps, (recipe.seed, "train"))
        loop = Loop(job.model, recipe, job.device, job.arithmetic, job.ranks, job.due)
        yield from loop.train(train_on, measures, resume)
