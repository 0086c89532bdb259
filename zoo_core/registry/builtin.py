"""The built-in trainers and metric, registered through the same hooks as a plugin's, and the trainers' settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from zoo_core.cards.components import Component
from zoo_core.cards.fields import FrozenModel
from zoo_core.cards.trainers import RECIPE_FIELDS, TrainerCard
from zoo_core.hookspecs import hookimpl
from zoo_core.recipes.component_choice import Rate

SMALL_BATCH = 32  # images; BatchNorm's statistics of fewer are too noisy to replace those of a pretrained model


class SupervisedSettings(FrozenModel):
    """Settings of the `supervised` trainer."""

    freeze_until: str | None = Field(
        default=None,
        description="freeze parameters in order, up to the first whose name contains this; None: none",
    )
    hold_bytes: NonNegativeInt | None = Field(
        default=None, description="keep decoded images in memory up to this many bytes; None: an eighth of the memory"
    )
    measure_train: bool = Field(
        default=True,
        description="measure accuracy on the training images after every epoch; false saves a pass over them",
    )
    validate_through_augmentation: bool = Field(
        default=False, description="also augment validation images: reproduces a common mistake, for comparison"
    )


class FrozenFeaturesSettings(FrozenModel):
    """Settings of the `frozen-features` trainer."""

    feature_batch_size: PositiveInt = Field(default=16, description="images per forward pass of the frozen backbone")


class FinetuneSettings(FrozenModel):
    """Settings of the `finetune` trainer."""

    head_epochs: NonNegativeInt = Field(
        default=1, description="of the recipe's epochs, how many train the head alone, on features of clean images"
    )
    head_lr: Rate = Field(default=1e-3, description="learning rate of those epochs; the recipe's is for all the others")
    freeze_batch_norm: bool | Literal["auto"] = Field(
        default="auto",
        description="whether BatchNorm keeps the statistics that the weights came with; auto: if fewer than "
        f"{SMALL_BATCH} images go through the model at once",
    )
    random_backbone: bool = Field(default=False, description="train even if the backbone has random weights")
    feature_batch_size: PositiveInt = Field(
        default=16, description="images per forward pass of the frozen backbone, while the head is trained alone"
    )


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    """Return the built-in trainers."""
    return [
        TrainerCard(
            name="supervised",
            summary="Trains all parameters on labeled images",
            trainer="zoo_core:SupervisedTrainer",
            settings="zoo_core:SupervisedSettings",
            uses=RECIPE_FIELDS,
        ),
        TrainerCard(
            name="frozen-features",
            summary="Computes the features of a frozen backbone once, caches them, and trains the head on them",
            trainer="zoo_core:FrozenFeaturesTrainer",
            settings="zoo_core:FrozenFeaturesSettings",
            needs_head=True,
            uses=tuple(
                field for field in RECIPE_FIELDS if field not in ("augment", "layer_decay")
            ),  # every image goes through the backbone once, and a head is one block of layers
        ),
        TrainerCard(
            name="finetune",
            summary="Trains the head on a frozen backbone's features, then all layers",
            trainer="zoo_core:FinetuneTrainer",
            settings="zoo_core:FinetuneSettings",
            needs_head=True,
            uses=RECIPE_FIELDS,
        ),
    ]


MACRO_F1 = Component(
    kind="metric",
    name="macro-f1",
    summary="Unweighted mean of the classes' F1 scores",
    build="zoo_core:macro_f1",
    metric_kind="fraction",
)


@hookimpl
def zoo_components() -> list[Component]:
    """Return the built-in metric; the other built-in components are classes in `recipes`."""
    return [MACRO_F1]
