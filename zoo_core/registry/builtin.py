"""The two trainers that the core brings, through the same hook as anyone's; and their settings."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from zoo_core.cards import FrozenModel, TrainerCard
from zoo_core.hookspecs import hookimpl


class SupervisedSettings(FrozenModel):
    """Settings of the `supervised` trainer."""

    freeze_until: str | None = None  # freeze parameters in order, up to the first whose name contains this
    hold_bytes: NonNegativeInt | None = None  # decoded images up to this are held in memory; None: an eighth of it
    validate_through_augmentation: bool = False  # measure also as a shared training transform would: a known mistake


class FrozenFeaturesSettings(FrozenModel):
    """Settings of the `frozen-features` trainer."""

    feature_batch_size: PositiveInt = 16  # images that go through the backbone together


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    """Return the core's own trainers."""
    return [
        TrainerCard(
            name="supervised",
            summary="Trains every parameter on labelled images, by gradient descent",
            trainer="zoo_core:SupervisedTrainer",
            settings="zoo_core:SupervisedSettings",
        ),
        TrainerCard(
            name="frozen-features",
            summary="Sends each image once through a frozen backbone, keeps the features, and trains the head on them",
            trainer="zoo_core:FrozenFeaturesTrainer",
            settings="zoo_core:FrozenFeaturesSettings",
        ),
    ]
