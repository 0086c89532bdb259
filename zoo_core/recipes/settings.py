"""Settings of optimizers, augmentations and losses, as recipes write them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    FiniteFloat,
    Tag,
    model_validator,
)

from zoo_core.cards.fields import FrozenModel, Unit
from zoo_core.recipes.component_choice import PLUGIN, ComponentChoice, OptimizerChoice, Rate, built_in_or_plugin, named

Factor = Annotated[FiniteFloat, Field(gt=0)]


Decay = Annotated[FiniteFloat, Field(ge=0)]


Count = Annotated[int, Field(gt=0, lt=2**31)]


Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what PyTorch's generators take


PrecisionName = Literal["auto", "float32", "bfloat16"]


NO_NAME: Any = {"custom_error_type": "no_name", "custom_error_message": "needs a name"}


class SplitSettings(FrozenModel):
    """How a folder of images is split into training and validation images; folders with `train/` are split already."""

    fraction: Annotated[FiniteFloat, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="share of each class that is held out for validation; None: one image in five, by hash alone",
    )
    group: str | None = Field(
        default=None,
        description="regular expression; images in whose paths it matches the same text stay on one side of the split",
    )
    allow_leakage: bool = Field(
        default=False, description="train even if the same image is in more than one split; accuracy is then inflated"
    )


class Adam(FrozenModel):
    """Adam, with PyTorch's betas and epsilon."""

    name: Literal["adam"] = "adam"
    lr: Rate = Field(default=1e-3, description="learning rate")
    weight_decay: Decay = Field(default=0.0, description="L2 penalty, added to the gradient")


class AdamW(FrozenModel):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: Rate = Field(default=1e-3, description="learning rate")
    weight_decay: Decay = Field(default=0.01, description="decoupled weight decay")


class SGD(FrozenModel):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: Rate = Field(description="learning rate")
    momentum: Unit = Field(default=0.0, description="momentum")
    nesterov: bool = Field(default=False, description="Nesterov momentum; needs a momentum above 0")
    weight_decay: Decay = Field(default=0.0, description="L2 penalty, added to the gradient")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


Optimizer = Annotated[
    Annotated[Adam, Tag("adam")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[SGD, Tag("sgd")]
    | Annotated[OptimizerChoice, Tag(PLUGIN)],
    Discriminator(built_in_or_plugin("adam", "adamw", "sgd"), **NO_NAME),
]


class HorizontalFlip(FrozenModel):
    """Flip an image left to right at random."""

    name: Literal["horizontal-flip"]
    p: Unit = Field(default=0.5, description="probability of a flip")


class Rotation(FrozenModel):
    """Rotate an image about its center by a random angle."""

    name: Literal["rotation"]
    degrees: Annotated[FiniteFloat, Field(gt=0, le=180)] = Field(
        description="largest angle, in degrees; angles are drawn from ± this"
    )


class Affine(FrozenModel):
    """Translate, scale and shear an image at random."""

    name: Literal["affine"]
    translate: tuple[Unit, Unit] | None = Field(
        default=None, description="largest shift, as fractions of the width and the height"
    )
    scale: tuple[Factor, Factor] | None = Field(default=None, description="smallest and largest scale factor")
    shear: Annotated[FiniteFloat, Field(ge=0, lt=90)] = Field(default=0.0, description="largest shear angle in degrees")

    @model_validator(mode="after")
    def _scale_is_ordered(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError("scale must be (smallest, largest)")
        return self


Augmentation = Annotated[
    Annotated[HorizontalFlip, Tag("horizontal-flip")]
    | Annotated[Rotation, Tag("rotation")]
    | Annotated[Affine, Tag("affine")]
    | Annotated[ComponentChoice, Tag(PLUGIN)],
    Discriminator(built_in_or_plugin("horizontal-flip", "rotation", "affine"), **NO_NAME),
]


class CrossEntropy(FrozenModel):
    """Cross-entropy; binary cross-entropy for models with a single logit, and for each class of multi-label data."""

    name: Literal["cross-entropy"] = "cross-entropy"
    label_smoothing: Annotated[FiniteFloat, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of the target that is spread evenly over all classes; of multi-label data, over yes and no",
    )


Loss = Annotated[
    Annotated[CrossEntropy, Tag("cross-entropy")] | Annotated[ComponentChoice, Tag(PLUGIN)],
    Discriminator(built_in_or_plugin("cross-entropy"), **NO_NAME),
    BeforeValidator(named),
]


Metric = Annotated[ComponentChoice, BeforeValidator(named)]


BUILT_IN: Mapping[str, tuple[str, ...]] = MappingProxyType(  # names that no component can have, by kind
    {
        "augmentation": ("horizontal-flip", "rotation", "affine"),
        "optimizer": ("adam", "adamw", "sgd"),
        "loss": ("cross-entropy",),
        "metric": (),
    }
)
