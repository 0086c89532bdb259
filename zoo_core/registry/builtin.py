"""The two built-in trainers, registered through the same hook as a plugin's, and their settings."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from zoo_core.cards import RECIPE_FIELDS, FrozenModel, TrainerCard
from zoo_core.hookspecs import hookimpl


class SupervisedSettings(FrozenModel):
    """Settings of the `supervised` trainer."""

    freeze_until: str | None = None  # freeze parameters in order, up to the first whose name contains this
    hold_bytes: NonNegativeInt | None = None  # decoded images of up to this size stay in memory; None: an eighth of it
    validate_through_augmentation: bool = False  # also measure augmented validation images: a known mistake


class FrozenFeaturesSettings(FrozenModel):
    """Settings of the `frozen-features` trainer."""

    feature_batch_size: PositiveInt = 16  # images per batch through the backbone


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    """Return the built-in trainers."""
    return [
        TrainerCard(
            name="supervised",
            summary="Trains all parameters on labelled images",
            trainer="zoo_core:SupervisedTrainer",
            settings="zoo_core:SupervisedSettings",
        ),
        TrainerCard(
            name="frozen-features",
            summary="Computes the features of a frozen backbone once, caches them, and trains the head on them",
            trainer="zoo_core:FrozenFeaturesTrainer",
            settings="zoo_core:FrozenFeaturesSettings",
            needs_head=True,
            uses=tuple(
                field for field in RECIPE_FIELDS if field != "augment"
            ),  # every image goes through the backbone once
        ),
    ]
