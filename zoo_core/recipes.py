"""What to do: a model, a dataset, a trainer and their settings; and the figures that a document gives for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from zoo_core.cards import (
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

Factor = Annotated[FiniteFloat, Field(gt=0)]
Rate = Annotated[FiniteFloat, Field(gt=0)]  # learning rate
Decay = Annotated[FiniteFloat, Field(ge=0)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what PyTorch's generators take
ROUNDING = 1e-6  # a mean of float32 values is this close: 0.871999979 reaches a bound of 0.872
PrecisionName = Literal["auto", "float32", "bfloat16"]


class Adam(FrozenModel):
    """Adam, with PyTorch's betas and epsilon."""

    name: Literal["adam"] = "adam"
    lr: Rate = 1e-3
    weight_decay: Decay = 0.0


class AdamW(FrozenModel):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: Rate = 1e-3
    weight_decay: Decay = 0.01


class SGD(FrozenModel):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: Rate
    momentum: Unit = 0.0
    nesterov: bool = False
    weight_decay: Decay = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


Optimizer = Annotated[Adam | AdamW | SGD, Field(discriminator="name")]


class HorizontalFlip(FrozenModel):
    """Mirror left and right, with probability `p`."""

    name: Literal["horizontal-flip"]
    p: Unit = 0.5


class Rotation(FrozenModel):
    """Turn about the centre by up to ± `degrees`."""

    name: Literal["rotation"]
    degrees: Annotated[FiniteFloat, Field(gt=0, le=180)]


class Affine(FrozenModel):
    """Move by up to a fraction of each side, zoom by a factor, shear by up to ± degrees."""

    name: Literal["affine"]
    translate: tuple[Unit, Unit] | None = None
    scale: tuple[Factor, Factor] | None = None
    shear: Annotated[FiniteFloat, Field(ge=0, lt=90)] = 0.0

    @model_validator(mode="after")
    def _scale_goes_upwards(self) -> Self:
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError("scale is a pair of the least and the largest factor")
        return self


Augmentation = Annotated[HorizontalFlip | Rotation | Affine, Field(discriminator="name")]


class ReferenceMetric(FrozenModel):
    """A documented figure: a bound to reach, or a value to come near to."""

    at_least: FiniteFloat | None = None
    value: FiniteFloat | None = None
    within: FiniteFloat | None = None  # how far from `value` still holds: the zoo's own tolerance, not the document's
    quote: str = ""  # the document's own words

    @model_validator(mode="after")
    def _a_bound_or_a_value(self) -> Self:
        if (self.at_least is None) == (self.value is None) or (self.value is None) != (self.within is None):
            raise ValueError("give either at_least, or value and within")
        return self

    def holds(self, measured: float) -> bool:
        """Tell whether a measurement agrees with the document."""
        if self.at_least is not None:
            return measured >= self.at_least - ROUNDING
        assert self.value is not None
        assert self.within is not None
        return abs(measured - self.value) <= self.within + ROUNDING


class RecipeReference(FrozenModel):
    """What a document prints for a recipe, and where."""

    section: str
    metrics: Mapping[str, ReferenceMetric]  # by the name under which the run measures it
    log: Mapping[str, tuple[float, ...]] = {}  # the printed figures of each epoch


class Recipe(FrozenModel):
    """A named piece of work. A registry file shows only what differs from the defaults."""

    name: Name
    summary: str
    model: Name
    dataset: Name
    trainer: Name = "supervised"
    model_options: Mapping[str, Any] = {}
    edition: Name | None = None  # None: the dataset's first
    weights: str | None = None  # what to start from: None (random), "pretrained", or a name on the model's card
    head: Head = "fresh"  # "keep": start from the head that the weights have, trained on the same classes
    augment: tuple[Augmentation, ...] = ()
    epochs: Count
    batch_size: Count
    optimizer: Optimizer = Adam()
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate; cosine falls to 0 at the last step
    precision: PrecisionName = "auto"  # auto: 16-bit where the processor has it; float32: the plain path
    settings: Mapping[str, Any] = {}  # the trainer's own
    seed: Seed = 0
    reference: RecipeReference | None = None

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
    """Parameter counts, output shapes and sizes of a model, as a document prints them or as they follow from it."""

    section: str = ""
    parameters: PositiveInt | None = None
    trainable_parameters: PositiveInt | None = None
    layers: Mapping[str, PositiveInt] = {}  # parameters, by module path
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = {}  # outputs without the batch side, by path, one per call
    megabytes: Mapping[Literal["input", "forward_backward", "parameters", "total"], float] = {}  # MiB, one image


class ModelReference(FrozenModel):
    """What is known of a model beside its card: printed in a document, derived from it, and where the document errs."""

    documented: ParameterCounts | None = None
    derived: ParameterCounts | None = None
    errata: Mapping[str, str] = {}  # by module path

    @property
    def given(self) -> tuple[tuple[str, ParameterCounts], ...]:
        """The counts there are, each with the word for where it comes from."""
        pairs = (("documented", self.documented), ("derived", self.derived))
        return tuple((kind, counts) for kind, counts in pairs if counts is not None)


class Plan(FrozenModel):
    """All that a run needs to know; what a run directory keeps as plan.json."""

    recipe: Recipe
    model: ModelCard
    dataset: DatasetCard
    edition: Edition
    trainer: TrainerCard
    settings: Mapping[str, Any]  # the trainer's own, complete
    weights: tuple[WeightsCard, ...]  # to start from, backbone first; empty: random
    classes: tuple[str, ...]  # of the data, in label order
    device: str = "auto"
    data: Path | None = None  # a folder of the user's own images, in place of the dataset

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
