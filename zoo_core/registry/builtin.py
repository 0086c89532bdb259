"""The built-in trainers and metric, registered through the same hooks as a plugin's, and the trainers' settings."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from zoo_core.cards.components import Component
from zoo_core.cards.fields import FrozenModel, Task
from zoo_core.cards.trainers import RECIPE_FIELDS, TrainerCard
from zoo_core.hookspecs import hookimpl

BOTH: tuple[Task, ...] = ("single-label", "multi-label")


class SupervisedSettings(FrozenModel):
    """Settings of the `supervised` trainer."""

    freeze_until: str | None = Field(
        default=None,
        description="freeze parameters in order, up to the first whose name contains this; None: none",
    )
    hold_bytes: NonNegativeInt | None = Field(
        default=None, description="keep decoded images in memory up to this many bytes; None: an eighth of the memory"
    )
    validate_through_augmentation: bool = Field(
        default=False, description="also augment validation images: reproduces a common mistake, for comparison"
    )


class FrozenFeaturesSettings(FrozenModel):
    """Settings of the `frozen-features` trainer."""

    feature_batch_size: PositiveInt = Field(default=16, description="images per forward pass of the frozen backbone")


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    """Return the built-in trainers."""
    return [
        TrainerCard(
            name="supervised",
            summary="Trains all parameters on labeled images",
            trainer="zoo_core:SupervisedTrainer",
            settings="zoo_core:SupervisedSettings",
            tasks=BOTH,
            uses=RECIPE_FIELDS,
        ),
        TrainerCard(
            name="frozen-features",
            summary="Computes the features of a frozen backbone once, caches them, and trains the head on them",
            trainer="zoo_core:FrozenFeaturesTrainer",
            settings="zoo_core:FrozenFeaturesSettings",
            needs_head=True,
            tasks=BOTH,
            uses=tuple(
                field for field in RECIPE_FIELDS if field != "augment"
            ),  # every image goes through the backbone once
        ),
    ]


MACRO_F1 = Component(
    kind="metric",
    name="macro-f1",
    summary="Unweighted mean of the classes' F1 scores",
    build="zoo_core:macro_f1",
    tasks=BOTH,
    metric_kind="fraction",
)


@hookimpl
def zoo_components() -> list[Component]:
    """Return the built-in metric; the other built-in components are classes in `recipes`."""
    return [MACRO_F1]
