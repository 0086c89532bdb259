"""The built-in trainers and metric, registered through the same hooks as a plugin's, and the trainers' settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from zoo_core.cards.components import Component
from zoo_core.cards.fields import FrozenModel, Task
from zoo_core.cards.trainers import LOOP_FIELDS, TrainerCard
from zoo_core.hookspecs import hookimpl

SMALL_BATCH = 32  # images; BatchNorm's statistics of fewer are too noisy to replace those of a pretrained model

HOLD_FEATURES = "keep features in memory up to this many bytes, else on disk; None: an eighth of the memory"
ALLOW_RANDOM = "train a head on a frozen backbone with random weights, which is refused otherwise"

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
    measure_train: bool = Field(
        default=True,
        description="measure accuracy on the training images after every epoch; false saves a pass over them",
    )
    validate_through_augmentation: bool = Field(
        default=False, description="also augment validation images: reproduces a common mistake, for comparison"
    )


class FrozenFeaturesSettings(FrozenModel):
    """Settings of the `frozen-features` trainer."""

    allow_random: bool = Field(default=False, description=ALLOW_RANDOM)
    feature_batch_size: PositiveInt = Field(default=16, description="images per forward pass of the frozen backbone")
    hold_bytes: NonNegativeInt | None = Field(default=None, description=HOLD_FEATURES)


STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(4, -9, -1))  # 100 to 0.0001, two for each decade


class LogisticHeadSettings(FrozenModel):
    """Settings of the `logistic-head` trainer."""

    folds: Annotated[int, Field(ge=2)] = Field(
        default=5, description="parts of the training images that the strength is chosen by, each held out in turn"
    )
    strengths: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], Field(min_length=1)] = Field(
        default=STRENGTHS, description="strengths of the L2 penalty to choose from: 1 / (C N), with scikit-learn's C"
    )
    criterion: Literal["loss", "accuracy"] = Field(
        default="loss", description="what the strengths are compared by, on held-out training images"
    )
    standardize: bool = Field(
        default=False, description="scale each feature to variance 1; false: all features by one factor"
    )
    allow_random: bool = Field(default=False, description=ALLOW_RANDOM)
    feature_batch_size: PositiveInt = Field(default=16, description="images per forward pass of the frozen backbone")
    hold_bytes: NonNegativeInt | None = Field(default=None, description=HOLD_FEATURES)


class FinetuneSettings(FrozenModel):
    """Settings of the `finetune` trainer."""

    freeze_batch_norm: bool | Literal["auto"] = Field(
        default="auto",
        description="whether BatchNorm keeps the statistics that the weights came with; auto: if fewer than "
        f"{SMALL_BATCH} images go through the model at once",
    )
    allow_random: bool = Field(default=False, description="train even if the backbone has random weights")
    feature_batch_size: PositiveInt = Field(
        default=16,
        description="images per forward pass of the frozen backbone, whose features the head is fitted on",
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
            tasks=BOTH,
            uses=LOOP_FIELDS,
        ),
        TrainerCard(
            name="frozen-features",
            summary="Computes the features of a frozen backbone once, caches them, and trains the head on them",
            trainer="zoo_core:FrozenFeaturesTrainer",
            settings="zoo_core:FrozenFeaturesSettings",
            needs_head=True,
            needs_weights=True,
            tasks=BOTH,
            uses=tuple(
                field for field in LOOP_FIELDS if field not in ("augment", "layer_decay")
            ),  # every image goes through the backbone once, and a head is one block of layers
        ),
        TrainerCard(
            name="finetune",
            summary="Fits the head by logistic regression on a frozen backbone's features, then trains all layers",
            trainer="zoo_core:FinetuneTrainer",
            settings="zoo_core:FinetuneSettings",
            needs_head=True,
            needs_weights=True,
            tasks=BOTH,
            uses=LOOP_FIELDS,
        ),
        TrainerCard(
            name="logistic-head",
            summary="Fits a linear head on cached features by logistic regression, its strength by cross-validation",
            trainer="zoo_core:LogisticHeadTrainer",
            settings="zoo_core:LogisticHeadSettings",
            needs_head=True,
            needs_weights=True,
            tasks=BOTH,
            uses=("balance", "metrics", "precision", "seed", "split.folds"),
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
