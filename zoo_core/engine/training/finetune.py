"""The `finetune` trainer: first the head, by logistic regression on cached features, then all layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from zoo_core.engine.training.logistic_head import LogisticHeadTrainer
from zoo_core.engine.training.metrics import measured_names
from zoo_core.engine.training.monitor import Monitor
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import UsageError
from zoo_core.events import EpochResult, Event, TrainState
from zoo_core.registry.builtin import SMALL_BATCH, FinetuneSettings, LogisticHeadSettings

HEAD_EPOCHS = 1  # the logistic regression counts as one epoch


class FinetuneTrainer:
    """Trains a pretrained model in two phases, whose epochs are numbered as one sequence.

    Epoch 1 fits the head as `logistic-head` does: a random head would send large gradients into the backbone. The
    others train all layers with everything that the recipe says; warmup and schedule stretch over these.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place.

        Raises:
            UsageError: no epoch is left for the other layers, or the head is not one linear layer.
            DataError: the features contain NaN, or no class has two training images.
        """
        recipe, settings = job.plan.recipe, FinetuneSettings.model_validate(job.plan.settings)
        measured = ["train_accuracy", *(["validation_accuracy"] if job.validation is not None else [])]
        names = measured_names(job.plan, measured)
        Monitor.of(job.plan).require(names)
        _require_epochs(job)
        # the first phase ends with a checkpoint before the first step of the second, which saves none at that point
        in_first = resume is None or (resume.epoch, resume.step) <= (HEAD_EPOCHS, 0)
        if in_first:
            for event in LogisticHeadTrainer().fit(_head_job(job, settings), resume):
                yield _renumbered(event, recipe.epochs, names) if isinstance(event, EpochResult) else event
        images = recipe.batch_size // (job.world.count * recipe.accumulate)  # that BatchNorm sees at once
        frozen = images < SMALL_BATCH if settings.freeze_batch_norm == "auto" else settings.freeze_batch_norm
        train = job.examples("train")
        loop = replace(job.loop(), span=range(HEAD_EPOCHS, recipe.epochs), freeze_batch_norm=frozen)
        yield from loop.train(train, job.measures(train), None if in_first else resume)


def _require_epochs(job: Job) -> None:
    if job.plan.recipe.epochs <= HEAD_EPOCHS:
        raise UsageError(
            "fine-tuning needs at least two epochs",
            why="the first one fits the head, the others train all layers",
            fix=f"zoo run {job.plan.recipe.name} --epochs 5",
        )


def _head_job(job: Job, settings: FinetuneSettings) -> Job:
    """Return the job of the first phase."""
    head = LogisticHeadSettings(feature_batch_size=settings.feature_batch_size)
    return replace(job, plan=job.plan.model_copy(update={"settings": head.model_dump()}))


def _renumbered(result: EpochResult, epochs: int, names: list[str]) -> EpochResult:
    """Return the result as one of all epochs, which have the same metrics."""
    return replace(
        result, epochs=epochs, metrics={name: result.metrics[name] for name in names if name in result.metrics}
    )
