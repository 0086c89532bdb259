"""Models, their preprocessing and their weights, described without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from zoo_core.cards.fields import (
    FrozenModel,
    Head,
    Name,
    Reference,
    Resize,
    Split,
    Unit,
    resolve,
)
from zoo_core.cards.files import File, HubFile
from zoo_core.errors import UsageError

PUBLISHED = ("pretrained", "trained")  # the publisher's choice among a card's weights


class ImageInput(FrozenModel):
    """A model's preprocessing.

    `resize` makes a square: "squash" scales both sides to `size`; "crop" scales the shorter side and keeps the middle;
    "pad" scales the longer side to `size`, centers the image and fills the margins with the color `mean`. Pixels are
    then scaled to [0, 1], and normalized as (pixel - mean) / std, per channel.
    """

    size: PositiveInt = Field(description="width and height of the model's input, in pixels")
    channels: Literal[1, 3] = 3
    resize: Resize = Field(
        default="squash",
        description="squash: both sides to `size`; crop: shorter side, then center crop; pad: longer side, margins",
    )
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="with crop: `size` divided by the shorter side, which is rounded down"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = Field(description="one per channel")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(description="one per channel")

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std must have {self.channels} value(s) each")
        return self


class ReportedAccuracy(FrozenModel):
    """A measured accuracy that `zoo check` measures again."""

    dataset: Name
    edition: Name | None = Field(default=None, description="None: the dataset's first")
    split: Split
    n: PositiveInt = Field(description="number of images")
    accuracy: Unit = Field(description="fraction of these images that these weights classify correctly")


class WeightsCard(FrozenModel):
    """One set of trained weights, stored as safetensors, with the preprocessing that it was trained with."""

    name: Name
    covers: Literal["all", "backbone", "head"]
    backbone: Name | None = Field(default=None, description="for a head: the backbone weights that it was trained on")
    file: File | HubFile
    convert: Reference | None = Field(
        default=None, description="convert(model, tensors) -> tensors with the current parameter names of the model"
    )
    options: Mapping[str, str | int | float | bool] = Field(
        default={}, description="keyword arguments for the model's builder that these weights need"
    )
    input: ImageInput | None = Field(default=None, description="None: the model's")
    classes: tuple[str, ...] | Reference | None = Field(
        default=None, description="in logit order, or f() -> classes; None: the model's (all, head) or none (backbone)"
    )
    thresholds: tuple[Unit, ...] | None = Field(
        default=None,
        description="probability from which each class is predicted, if an image may have several; None: it has one",
    )
    license: str
    provenance: str = Field(description="where the weights come from, or how they were trained")
    reported: tuple[ReportedAccuracy, ...] = Field(
        default=(),
        description="accuracies measured with exactly these bytes; first, one on images that ship with a plugin",
    )

    def matches_pinned(self, pinned: WeightsCard) -> bool:
        """Return whether `pinned` is this card, or this card with its Hub file at some commit."""
        file = self.file
        if isinstance(file, File) or self == pinned or isinstance(pinned.file, HubFile):
            return self == pinned
        return file.is_source_of(pinned.file) and self == pinned.model_copy(update={"file": file})

    @property
    def identity(self) -> tuple[str, str, str | None, str, ImageInput | None, tuple[tuple[str, Any], ...]]:
        """What identifies weights: name, part, backbone, content, preprocessing and options, but not code or text."""
        content = self.file.sha256 if isinstance(self.file, File) else f"{self.file.repo}/{self.file.filename}"
        return self.name, self.covers, self.backbone, content, self.input, tuple(sorted(self.options.items()))

    @model_validator(mode="after")
    def _a_head_names_its_backbone(self) -> Self:
        if (self.covers == "head") != (self.backbone is not None):
            raise ValueError("a head's weights name their backbone; others do not")
        return self

    @model_validator(mode="after")
    def _a_threshold_for_each_class(self) -> Self:
        if (
            self.thresholds is not None
            and isinstance(self.classes, tuple)
            and len(self.thresholds) != len(self.classes)
        ):
            raise ValueError(f"{len(self.classes)} classes are named, but there are {len(self.thresholds)} thresholds")
        return self


class ModelCard(FrozenModel):
    """One model.

    `builder(num_classes=N, **fixed, **options) -> nn.Module` takes `num_classes` by keyword. The module maps
    (N, C, H, W) float32 to logits (N, K), without softmax or sigmoid. K is the number of classes (cross-entropy), or 1
    with exactly two classes (binary cross-entropy; the probabilities are [1 - p, p], so class 0 is the negative one).
    """

    name: Name
    summary: str
    license: str
    source: str = Field(description="where the model comes from: a paper, a page, a document")
    builder: Reference
    fixed: Mapping[str, str | int | float | bool] = Field(
        default={}, description="keyword arguments that the builder always gets; no option can change them"
    )
    adapt: Reference | None = Field(
        default=None, description="adapt(card, **options) -> the card of the variant that these options build"
    )
    input: ImageInput
    num_classes: PositiveInt = Field(description="the default")
    classes: tuple[str, ...] | None = Field(default=None, description="names, in logit order")
    head: str | None = Field(
        default=None,
        description="path of the submodule that is replaced for other classes and trained alone ('fc', or "
        "'classifier.6' inside a Sequential); every other parameter is the backbone; None: the model has no head",
    )
    parameters: PositiveInt = Field(description="at num_classes and default options")
    trainable_parameters: PositiveInt | None = Field(
        default=None, description="those of the head, where only the head is trained; None: all"
    )
    weights: tuple[WeightsCard, ...] = ()

    def variant(self, options: Mapping[str, Any]) -> ModelCard:
        """Return the card of the model that these options build: its input, counts and weights may differ.

        Raises:
            UsageError: the options do not fit.
        """
        if not options or self.adapt is None:
            return self
        try:
            adapted: ModelCard = resolve(self.adapt)(self, **options)
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{self.name} cannot be built with these options", why=str(error), fix=f"zoo show {self.name}"
            ) from error
        return adapted

    @model_validator(mode="after")
    def _classes_are_counted(self) -> Self:
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"{len(self.classes)} classes are named, but num_classes is {self.num_classes}")
        return self

    def select(self, weights: str | None = "pretrained", head: Head = "keep") -> WeightsSelection:
        """Choose the weights to load.

        Args:
            weights: None or "none": random initialization. "pretrained" (or "trained"): the publisher's weights, which
                are those of the whole model, or of a backbone and its head; a backbone alone where there is no head.
                Anything else: the name of weights on this card; a head brings its backbone.
            head: "keep" loads the head that these weights have; "fresh" leaves it at random.

        Raises:
            UsageError: the card has no such weights.
        """
        if weights in (None, "none"):
            return WeightsSelection(self, (), head)
        published = weights in PUBLISHED
        parts = [("backbone", "all")] if head == "fresh" else [("all", "head"), ("backbone",)]
        candidates = [w for part in parts for w in self.weights if w.covers in part] if published else []
        candidates = candidates or [w for w in self.weights if w.name == weights]
        if not candidates:
            raise self._no_weights(str(weights))
        chosen = candidates[0]
        backbone = [w for w in self.weights if w.name == chosen.backbone]
        only_backbone = head == "fresh" and chosen.covers == "head"
        return WeightsSelection(self, tuple(backbone if only_backbone else [*backbone, chosen]), head)

    def _no_weights(self, weights: str) -> UsageError:
        names = ", ".join(w.name for w in self.weights)
        recipe, model = (self.name, "") if "/" not in self.name else ("RECIPE", f" --set model={self.name}")
        return UsageError(
            f"{self.name} has no {weights!r} weights",
            why=f"its card lists these: {names}" if names else "its card lists none: train the model first",
            fix=f"zoo show {self.name}" if names else f"zoo run {recipe}{model} --weights none",
        )


@dataclass(frozen=True)
class WeightsSelection:
    """The weights to load into a model, and the preprocessing and classes that belong to them."""

    model: ModelCard
    cards: tuple[WeightsCard, ...]  # backbone first; empty: random initialization
    head: Head = "keep"

    @property
    def has_head(self) -> bool:
        """Whether a trained head is loaded; otherwise the head is random."""
        return bool(self.cards) and self.head == "keep" and self.cards[-1].covers != "backbone"

    @property
    def name(self) -> str:
        """The name of the weights on the card; "none" for random initialization."""
        return self.cards[-1].name if self.cards else "none"

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments that the builder needs for these weights."""
        return {name: value for card in self.cards for name, value in card.options.items()}

    @property
    def input(self) -> ImageInput:
        """The preprocessing that these weights were trained with, otherwise the model's."""
        return next((card.input for card in self.cards if card.input is not None), self.model.input)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that these weights predict, otherwise the model's; None: unnamed.

        Raises:
            PluginError: the function that returns the class names cannot be imported.
        """
        classes = self.cards[-1].classes if self.cards else None
        return tuple(resolve(classes)()) if isinstance(classes, str) else classes or self.model.classes

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probability from which the head predicts each class; None: it predicts one class for each image."""
        return self.cards[-1].thresholds if self.has_head else None

    @property
    def num_classes(self) -> int:
        """How many classes the head has: that of the weights, otherwise the model's."""
        named = self.classes if self.has_head else None
        return len(named) if named else self.model.num_classes


class Catalogue(FrozenModel):
    """Many models from one origin, named `NAME/…`. Each card is made when it is looked up."""

    name: Name
    summary: str
    models: frozenset[Name] = Field(description="full names, which start with the catalogue's name and a slash")
    card: Reference = Field(description="card(name) -> ModelCard; must not import torch")

    @model_validator(mode="after")
    def _models_start_with_its_name(self) -> Self:
        if other := sorted(name for name in self.models if not name.startswith(f"{self.name}/")):
            raise ValueError(f"{other[0]!r} does not start with {self.name}/")
        return self
