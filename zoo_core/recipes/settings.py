"""Settings of optimizers, augmentations and losses, as recipes write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    FiniteFloat,
    Tag,
    field_validator,
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


def ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """Return (smallest, largest) unchanged. Raises ValueError if the first is larger."""
    if pair[0] > pair[1]:
        raise ValueError("it must be (smallest, largest)")
    return pair


class SplitSettings(FrozenModel):
    """How the user's own images are split into training and validation images, unless a folder or CSV file says so.

    With `folds`, all of them are training images, and each is validated by a model that was trained without its fold.
    """

    fraction: Annotated[FiniteFloat, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="share of each class that is held out for validation; None: one image in five, by hash alone",
    )
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        default=None,
        description="validate by cross-validation with this many folds, for small sets: no images are held out, and "
        "each is predicted by a model that was trained without its fold; None: hold out validation images",
    )
    group: str | None = Field(
        default=None,
        description="regular expression; images in whose paths it matches the same text stay on one side of the split",
    )
    allow_leakage: bool = Field(
        default=False, description="train even if the same image is in more than one split; accuracy is then inflated"
    )

    @field_validator("group")
    @classmethod
    def _is_a_pattern(cls, group: str | None) -> str | None:
        try:
            re.compile(group or "")
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return group

    @model_validator(mode="after")
    def _folds_hold_out_no_fraction(self) -> Self:
        if self.folds is not None and self.fraction is not None:
            raise ValueError("fraction and folds exclude each other: with folds, no images are held out")
        return self


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
    decay_biases: bool = Field(
        default=True,
        description="also decay parameters with at most one dimension: biases, and those of normalization layers",
    )


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


Range = Annotated[tuple[Factor, Factor], AfterValidator(ordered)]
Share = Annotated[FiniteFloat, Field(gt=0, le=1)]


class RandomCrop(FrozenModel):
    """Shift an image by a random number of pixels: pad it on all sides, and crop it to its size again."""

    name: Literal["random-crop"]
    padding: Count = Field(description="pixels on each side, and so the largest shift")
    padding_mode: Literal["constant", "edge", "reflect"] = Field(
        default="constant", description="what is padded with: black, the outermost pixels, or the image mirrored"
    )


class RandomResizedCrop(FrozenModel):
    """Crop a random part of an image, and scale it to the image's size; it is the image as the model sees it."""

    name: Literal["random-resized-crop"]
    scale: Annotated[tuple[Share, Share], AfterValidator(ordered)] = Field(
        default=(0.35, 1.0), description="smallest and largest area of the part, as shares of the image's"
    )
    ratio: Range = Field(default=(3 / 4, 4 / 3), description="smallest and largest width / height of the part")


class ColorJitter(FrozenModel):
    """Change the brightness, contrast, saturation and hue of an image at random."""

    name: Literal["color-jitter"]
    brightness: Unit = Field(default=0.0, description="factors are drawn from 1 ± this")
    contrast: Unit = Field(default=0.0, description="factors are drawn from 1 ± this")
    saturation: Unit = Field(default=0.0, description="factors are drawn from 1 ± this")
    hue: Annotated[FiniteFloat, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="largest rotation of the color wheel, in turns"
    )


class TrivialAugment(FrozenModel):
    """TrivialAugment Wide: one operation, drawn from fourteen, with a random strength (arXiv:2103.10158)."""

    name: Literal["trivial-augment"]


class RandomErasing(FrozenModel):
    """Fill a random rectangle of an image with one value (arXiv:1708.04896)."""

    name: Literal["random-erasing"]
    p: Unit = Field(default=0.25, description="probability of a rectangle")
    scale: Annotated[tuple[Share, Share], AfterValidator(ordered)] = Field(
        default=(0.02, 0.33), description="smallest and largest area, as shares of the image's"
    )
    ratio: Range = Field(default=(0.3, 3.3), description="smallest and largest height / width")
    value: Annotated[int, Field(ge=0, le=255)] = Field(default=128, description="what it is filled with, 0 to 255")


class MixUp(FrozenModel):
    """Average each image of a batch, and its target, with another one's (arXiv:1710.09412)."""

    name: Literal["mixup"]
    alpha: Factor = Field(default=0.2, description="the share of an image is drawn from Beta(alpha, alpha)")
    p: Unit = Field(default=1.0, description="probability that a batch is mixed, if this way of mixing is drawn")


class CutMix(FrozenModel):
    """Paste a rectangle of another image of the batch, and mix the targets by its area (arXiv:1905.04899)."""

    name: Literal["cutmix"]
    alpha: Factor = Field(default=1.0, description="the share of the area is drawn from Beta(alpha, alpha)")
    p: Unit = Field(default=1.0, description="probability that a batch is mixed, if this way of mixing is drawn")


AUGMENTATIONS = (
    *("horizontal-flip", "rotation", "affine", "random-crop", "random-resized-crop", "color-jitter"),
    *("trivial-augment", "random-erasing", "mixup", "cutmix"),
)
Augmentation = Annotated[
    Annotated[HorizontalFlip, Tag("horizontal-flip")]
    | Annotated[Rotation, Tag("rotation")]
    | Annotated[Affine, Tag("affine")]
    | Annotated[RandomCrop, Tag("random-crop")]
    | Annotated[RandomResizedCrop, Tag("random-resized-crop")]
    | Annotated[ColorJitter, Tag("color-jitter")]
    | Annotated[TrivialAugment, Tag("trivial-augment")]
    | Annotated[RandomErasing, Tag("random-erasing")]
    | Annotated[MixUp, Tag("mixup")]
    | Annotated[CutMix, Tag("cutmix")]
    | Annotated[ComponentChoice, Tag(PLUGIN)],
    Discriminator(built_in_or_plugin(*AUGMENTATIONS), **NO_NAME),
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
        "augmentation": AUGMENTATIONS,
        "optimizer": ("adam", "adamw", "sgd"),
        "loss": ("cross-entropy",),
        "metric": (),
    }
)
