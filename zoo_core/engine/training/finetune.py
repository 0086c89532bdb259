"""The `finetune` trainer: first the head alone, on cached features, then all layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from zoo_core.engine.training.frozen_features import FrozenFeaturesTrainer
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import UsageError
from zoo_core.events import EpochResult, Event, TrainState
from zoo_core.recipes.recipe import Recipe
from zoo_core.registry.builtin import SMALL_BATCH, FinetuneSettings, FrozenFeaturesSettings


class FinetuneTrainer:
    """Trains a pretrained model in two phases, whose epochs are numbered as one sequence.

    The first `head_epochs` train the head as `frozen-features` does, with Adam's or the recipe's optimizer at the
    constant rate `head_lr`: a random head would otherwise send large gradients into the backbone. The others train all
    layers with everything that the recipe says; warmup and schedule stretch over these.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place.

        Raises:
            UsageError: `head_epochs` leaves no epoch for the other layers.
        """
        recipe, settings = job.plan.recipe, FinetuneSettings.model_validate(job.plan.settings)
        _refuse(job, settings)
        head_epochs = settings.head_epochs
        # the first phase ends with a checkpoint before the first step of the second, which saves none at that point
        in_first = head_epochs > 0 and (resume is None or (resume.epoch, resume.step) <= (head_epochs, 0))
        if in_first:
            yield from _head_epochs(job, settings, resume)
        images = recipe.batch_size // (job.world.count * recipe.accumulate)  # that BatchNorm sees at once
        frozen = images < SMALL_BATCH if settings.freeze_batch_norm == "auto" else settings.freeze_batch_norm
        train = job.examples("train")
        loop = replace(job.loop(), span=range(head_epochs, recipe.epochs), freeze_batch_norm=frozen)
        yield from loop.train(train, job.measures(train), None if in_first else resume)


def _refuse(job: Job, settings: FinetuneSettings) -> None:
    recipe = job.plan.recipe
    if settings.head_epochs >= recipe.epochs:
        raise UsageError(
            f"head_epochs = {settings.head_epochs} leaves none of {recipe.epochs} epochs for the other layers",
            why="they are part of the recipe's epochs",
            fix=f"zoo run {recipe.name} --epochs {settings.head_epochs + 1}",
        )


def _head_epochs(job: Job, settings: FinetuneSettings, resume: TrainState | None) -> Iterator[Event]:
    """Train the head alone; the events count the epochs of both phases."""
    recipe = job.plan.recipe
    only_head: Recipe = recipe.model_copy(
        update={
            "epochs": settings.head_epochs,
            "optimizer": recipe.optimizer.model_copy(update={"lr": settings.head_lr}),
            "schedule": "constant",
            "augment": (),
            **{name: Recipe.model_fields[name].default for name in ("warmup", "layer_decay", "accumulate", "ema")},
        }
    )
    features = FrozenFeaturesSettings(feature_batch_size=settings.feature_batch_size).model_dump()
    plan = job.plan.model_copy(update={"recipe": only_head, "settings": features})
    for event in FrozenFeaturesTrainer().fit(replace(job, plan=plan), resume):
        yield replace(event, epochs=recipe.epochs) if isinstance(event, EpochResult) else event
