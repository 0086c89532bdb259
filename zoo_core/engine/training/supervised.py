"""The `supervised` trainer: trains every parameter on labeled images."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_core.engine.models.build import freeze_until
from zoo_core.engine.training.examples import Examples
from zoo_core.engine.training.metrics import measured_names
from zoo_core.engine.training.monitor import Monitor
from zoo_core.engine.training.trainer import Job
from zoo_core.events import Event, TrainState
from zoo_core.registry.builtin import SupervisedSettings


class SupervisedTrainer:
    """Trains the model, or the part that `freeze_until` does not freeze.

    After each epoch it measures, in evaluation mode, `train_accuracy` on the training images as they are trained on
    (augmented, with separate random draws), unless `measure_train` is off, and `validation_accuracy` on the clean
    validation images.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place."""
        settings = SupervisedSettings.model_validate(job.plan.settings)
        seed, augmentation = job.plan.recipe.seed, job.augmentation
        if settings.freeze_until is not None:
            freeze_until(job.model, settings.freeze_until)
        train = job.examples("train", max_bytes=settings.hold_bytes)
        measures: dict[str, Examples] = {}
        if settings.measure_train:
            measures["train_accuracy"] = train.with_augmentation(augmentation, (seed, "measure train"))
        if job.validation is not None:
            clean = job.examples("validation", max_bytes=settings.hold_bytes)
            measures["validation_accuracy"] = clean
            if settings.validate_through_augmentation:
                augmented = clean.with_augmentation(augmentation, (seed, "measure validation"))
                measures["validation_accuracy_augmented"] = augmented
        Monitor.of(job.plan).require(measured_names(job.plan, measures))
        yield from job.loop().train(train, measures, resume)
