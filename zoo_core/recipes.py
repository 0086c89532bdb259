"""Training configurations: a model, a dataset, a trainer and their settings; and published metrics to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, FiniteFloat, PositiveInt, Tag, model_validator

from zoo_core.cards import (
    Component,
    DatasetCard,
    Edition,
    FrozenModel,
    Head,
    ImageInput,
    ModelCard,
    Name,
    Split,
    Task,
    TrainerCard,
    Unit,
    WeightsCard,
    WeightsSelection,
)
from zoo_core.component_choice import PLUGIN, ComponentChoice, OptimizerChoice, Rate, built_in_or_plugin, named

Factor = Annotated[FiniteFloat, Field(gt=0)]
Decay = Annotated[FiniteFloat, Field(ge=0)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what PyTorch's generators take
ROUNDING = 1e-6  # a mean of float32 values is this close: 0.871999979 reaches a bound of 0.872
PrecisionName = Literal["auto", "float32", "bfloat16"]


NO_NAME: Any = {"custom_error_type": "no_name", "custom_error_message": "needs a name"}


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
    """Cross-entropy; binary cross-entropy for models with a single logit."""

    name: Literal["cross-entropy"] = "cross-entropy"
    label_smoothing: Annotated[FiniteFloat, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of the target that is spread evenly over all classes"
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


class ReferenceMetric(FrozenModel):
    """A published metric: either a lower bound, or a value with a tolerance."""

    at_least: FiniteFloat | None = Field(default=None, description="lower bound")
    value: FiniteFloat | None = Field(default=None, description="published value")
    within: FiniteFloat | None = Field(
        default=None,
        description="tolerance around `value`; chosen by zoo, not by the document",
    )
    quote: str = Field(default="", description="the document's own words")

    @model_validator(mode="after")
    def _a_bound_or_a_value(self) -> Self:
        if (self.at_least is None) == (self.value is None) or (self.value is None) != (self.within is None):
            raise ValueError("give either at_least, or value and within")
        return self

    def holds(self, measured: float) -> bool:
        """Return whether a measurement matches the published metric."""
        if self.at_least is not None:
            return measured >= self.at_least - ROUNDING
        assert self.value is not None
        assert self.within is not None
        return abs(measured - self.value) <= self.within + ROUNDING


class RecipeReference(FrozenModel):
    """What a document publishes for a recipe, and where."""

    section: str = Field(description="section of the document")
    metrics: Mapping[str, ReferenceMetric] = Field(description="by the name that the run records the metric under")
    log: Mapping[str, tuple[float, ...]] = Field(default={}, description="printed metrics of each epoch, by name")


class Recipe(FrozenModel):
    """A named training configuration. A registry file only lists what differs from the defaults."""

    name: Name = Field(description="what `zoo run` takes")
    summary: str = Field(description="one line for `zoo list`")
    model: Name = Field(description="name of a model")
    dataset: Name = Field(description="name of a dataset")
    trainer: Name = Field(default="supervised", description="name of a trainer")
    model_options: Mapping[str, Any] = Field(default={}, description="keyword arguments for the model's builder")
    edition: Name | None = Field(default=None, description="edition of the dataset; None: its first")
    weights: str | None = Field(
        default=None,
        description="initial weights: None (random), 'pretrained', or the name of weights on the model's card",
    )
    head: Head = Field(
        default="fresh", description="fresh: a new head for the data's classes; keep: the head that the weights have"
    )
    augment: tuple[Augmentation, ...] = Field(default=(), description="augmentations of training images, in order")
    epochs: Count = Field(description="passes over the training images")
    batch_size: Count = Field(description="images per step, summed over all processes")
    optimizer: Optimizer = Field(default=Adam(), description="optimizer and its settings")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate schedule, stepped per batch; cosine decays to 0 at the last step"
    )
    loss: Loss = Field(default=CrossEntropy(), description="loss and its settings; a name alone takes the defaults")
    metrics: tuple[Metric, ...] = Field(
        default=(),
        description="more metrics, by name: each is measured on the validation images after every epoch, and recorded "
        "as validation_NAME",
    )
    precision: PrecisionName = Field(
        default="auto", description="auto: bfloat16 where the processor supports it natively; float32: full precision"
    )
    settings: Mapping[str, Any] = Field(default={}, description="the trainer's settings; `zoo show TRAINER` lists them")
    seed: Seed = Field(default=0, description="random seed")
    reference: RecipeReference | None = Field(default=None, description="published metrics to compare with")

    @model_validator(mode="before")
    @classmethod
    def _weights_by_other_words(cls, fields: Any) -> Any:  # noqa: ANN401 - not validated yet
        """Accept "none" for random initialization, and "trained" for the pretrained weights with their head."""
        if not isinstance(fields, dict):
            return fields
        if fields.get("weights") == "trained":
            return {"head": "keep", **fields, "weights": "pretrained"}
        return {**fields, "weights": None} if fields.get("weights") == "none" else fields


class ParameterCounts(FrozenModel):
    """Parameter counts, output shapes and sizes of a model, as published or as derived."""

    section: str = Field(default="", description="section of the document")
    parameters: PositiveInt | None = Field(default=None, description="number of parameters")
    trainable_parameters: PositiveInt | None = Field(default=None, description="number of trainable parameters")
    layers: Mapping[str, PositiveInt] = Field(default={}, description="number of parameters, by module path")
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = Field(
        default={}, description="output shapes without the batch dimension, one per call, by module path"
    )
    megabytes: Mapping[Literal["input", "forward_backward", "parameters", "total"], float] = Field(
        default={}, description="memory for one image, in MiB"
    )


class ModelReference(FrozenModel):
    """What is known about a model besides its card: published counts, derived counts, and errors in the document."""

    documented: ParameterCounts | None = Field(default=None, description="as published")
    derived: ParameterCounts | None = Field(default=None, description="as they follow from the published architecture")
    errata: Mapping[str, str] = Field(default={}, description="errors in the document, by module path")

    @property
    def given(self) -> tuple[tuple[str, ParameterCounts], ...]:
        """The counts that are known, each with "documented" or "derived"."""
        pairs = (("documented", self.documented), ("derived", self.derived))
        return tuple((kind, counts) for kind, counts in pairs if counts is not None)


class Plan(FrozenModel):
    """Everything that a run needs to know; a run directory stores it as plan.json."""

    recipe: Recipe
    model: ModelCard
    dataset: DatasetCard
    edition: Edition
    trainer: TrainerCard
    settings: Mapping[str, Any] = Field(description="the trainer's settings, with defaults filled in")
    weights: tuple[WeightsCard, ...] = Field(description="initial weights, backbone first; empty: random")
    classes: tuple[str, ...] = Field(description="the data's classes, in label order")
    components: tuple[Component, ...] = Field(
        default=(), description="the plugins' augmentations, optimizer, loss and metrics that the recipe chooses"
    )
    device: str = Field(default="auto", description="as PyTorch names it; auto: the best one available")
    data: Path | None = Field(default=None, description="the user's folder of images, in place of the dataset")

    @property
    def task(self) -> Task:
        """How many classes an image has: the dataset's task."""
        return self.dataset.task

    @property
    def input(self) -> ImageInput:
        """The preprocessing that belongs to the weights to start from, otherwise the model's."""
        return self.selection.input

    def with_examples(self, examples: Mapping[Split, int]) -> Plan:
        """Return the plan with these numbers of images in each split of its edition."""
        edition = self.edition.model_copy(update={"examples": dict(examples)})
        dataset = self.dataset.model_copy(update={"editions": (edition,)}) if self.data is not None else self.dataset
        return self.model_copy(update={"edition": edition, "dataset": dataset})

    @property
    def selection(self) -> WeightsSelection:
        """The weights to start from, and whether their head is loaded too."""
        return WeightsSelection(self.model, self.weights, self.recipe.head)
