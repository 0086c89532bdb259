"""What things are: immutable, torch-free descriptions of models, weights, datasets and trainers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, model_validator

from zoo_core.errors import PluginError, UnknownName, UsageError

Name = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9-]+/)?[a-z0-9]+([._-][a-z0-9]+)*$", min_length=1, max_length=64)
]
Reference = Annotated[str, StringConstraints(pattern=r"^[\w.]+:[\w.]+$")]  # "zoo_fashion_cnn.model:FashionCNN"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Repository = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=96)]  # "timm/resnet50.a1_in1k"
Uri = Annotated[
    str,
    StringConstraints(
        pattern=r"^((https?|file|package):\S+|index:[A-Za-z0-9][\w.-]*==[\w.!+]+#\S+|hub:[\w.-]+/[\w.-]+@[\w.-]+#\S+)$"
    ),
]
Split = Literal["train", "validation", "test"]
Unit = Annotated[float, Field(ge=0, le=1)]


class FrozenModel(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(FrozenModel):
    """One place to get a file from, with the size and hash of what lies there.

    `uri` is one of

    - `https://…` or `http://…` (plain http is allowed because the hash is pinned), `file:///…`
    - `package:zoo_x/data/x.bin`: a file inside an installed package
    - `index:NAME==VERSION#path-in-wheel`: a file inside a wheel, fetched with the user's own package client
    - `hub:OWNER/REPOSITORY@COMMIT#path`: a file on the Hugging Face Hub, fetched with the user's own endpoint and token

    `reader(path) -> Iterable[bytes]` turns what lies there into the content that the Store keeps; without one, it
    already is that content.
    """

    uri: Uri
    size: PositiveInt  # bytes
    sha256: Sha256
    reader: Reference | None = None


class File(FrozenModel):
    """One file's content, known by its hash, and the sources that it can be made from, in the order to try them."""

    sources: tuple[Source, ...] = Field(min_length=1)
    size: PositiveInt  # bytes of the content
    sha256: Sha256  # of the content: every source must convert to these bytes


class HubFile(FrozenModel):
    """A file on the Hugging Face Hub whose hash the card does not know, but the hub does.

    The Store asks the hub once, and keeps the answer: from then on it is a File with this commit, size and sha256.
    """

    repo: Repository
    filename: str = "model.safetensors"
    revision: str = "main"

    def is_source_of(self, content: File) -> bool:
        """Tell whether a File says of itself that it was here, at some commit."""
        place = re.fullmatch(r"hub:(.+)@[\w.-]+#(.+)", content.sources[0].uri)
        return len(content.sources) == 1 and place is not None and place.groups() == (self.repo, self.filename)


class ImageInput(FrozenModel):
    """How an image must look to go into a model: preprocessing, described.

    Pixels are scaled to [0, 1], then normalised as (pixel - mean) / std, per channel.
    """

    size: PositiveInt  # pixels, of the square that the model sees
    channels: Literal[1, 3] = 3
    resize: Literal["squash", "crop"] = "squash"  # squash: both sides to `size`; crop: shorter side, then the middle
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # with "crop": size / shorter side, which is rounded down
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _one_figure_per_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need {self.channels} figure(s) each")
        return self


class ReportedAccuracy(FrozenModel):
    """A measured accuracy that `zoo check` measures again."""

    dataset: Name
    edition: Name | None = None  # None: the dataset's first
    split: Split
    n: PositiveInt  # images
    accuracy: Unit  # measured with these weights over those images


class WeightsCard(FrozenModel):
    """One set of trained weights, kept as a safetensors file; its preprocessing belongs to it."""

    name: Name
    covers: Literal["all", "backbone", "head"]
    backbone: Name | None = None  # a head names the backbone weights that it was trained on
    file: File | HubFile
    convert: Reference | None = None  # convert(model, tensors) -> the tensors under the names that the model has now
    input: ImageInput | None = None  # None: the model's
    classes: tuple[str, ...] | Reference | None = (
        None  # None: the model's (all, head), or none (backbone); or f() -> them
    )
    license: str
    provenance: str
    reported: tuple[
        ReportedAccuracy, ...
    ] = ()  # measured with exactly these bytes; the first on images that are shipped

    def matches_pinned(self, pinned: WeightsCard) -> bool:
        """Tell whether `pinned` is this card, or what its file on the hub was at some time."""
        file = self.file
        if isinstance(file, File) or self == pinned or isinstance(pinned.file, HubFile):
            return self == pinned
        return file.is_source_of(pinned.file) and self == pinned.model_copy(update={"file": file})

    @property
    def identity(self) -> tuple[str, str, str | None, str, ImageInput | None]:
        """What makes two cards the same weights: name, part, backbone, content and preprocessing; no code, no prose."""
        content = self.file.sha256 if isinstance(self.file, File) else f"{self.file.repo}/{self.file.filename}"
        return self.name, self.covers, self.backbone, content, self.input

    @model_validator(mode="after")
    def _a_head_names_its_backbone(self) -> Self:
        if (self.covers == "head") != (self.backbone is not None):
            raise ValueError("a head's weights name their backbone; others do not")
        return self


class ModelCard(FrozenModel):
    """One model.

    `builder(num_classes: int, **fixed, **options) -> nn.Module` maps (N, C, H, W) float32 to logits (N, K). K is the
    number of classes (cross-entropy), or 1 with exactly two classes (class 0 is the negative one; probabilities
    [1 - p, p]).
    """

    name: Name
    summary: str
    license: str
    source: str  # where the model comes from: a paper, a page, a document
    builder: Reference
    fixed: Mapping[str, str | int | float | bool] = {}  # what the builder is always given; no option can change it
    adapt: Reference | None = None  # adapt(card, **options) -> the card of the variant that these options build
    input: ImageInput
    num_classes: PositiveInt
    classes: tuple[str, ...] | None = None
    head: str | None = None  # module path of the replaceable head ("fc"); everything else is the backbone
    parameters: PositiveInt  # at num_classes and default options
    trainable_parameters: PositiveInt | None = None  # those of the head, where only the head is trained; None: all
    weights: tuple[WeightsCard, ...] = ()

    def variant(self, options: Mapping[str, Any]) -> ModelCard:
        """Return the card of what the builder makes with these options: another input, other counts, other weights."""
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
            raise ValueError(f"{len(self.classes)} classes are named, num_classes is {self.num_classes}")
        return self

    def pick_weights(self, intent: str | None) -> tuple[WeightsCard, ...]:
        """Return the weights to load for an intent, backbone first.

        None: no weights, random initialization. "pretrained": a backbone with a new head. "trained": the whole model,
        or a backbone and its head. Anything else is the name of weights on this card; a head brings its backbone.

        Raises:
            UsageError: the model has no such weights.
        """
        if intent is None:
            return ()
        wanted = {"pretrained": ("backbone", "all"), "trained": ("all", "head")}.get(intent)
        found = [w for w in self.weights if (w.covers in wanted if wanted else w.name == intent)]
        if not found:
            raise self._no_weights(intent)
        return (*(w for w in self.weights if w.name == found[0].backbone), found[0])

    def input_for(self, weights: Sequence[WeightsCard]) -> ImageInput:
        """Return the preprocessing that belongs to these weights, else the model's own."""
        return next((one.input for one in weights if one.input is not None), self.input)

    def classes_for(self, weights: Sequence[WeightsCard]) -> tuple[str, ...] | None:
        """Return the classes that these weights tell apart, else the model's own; None: they have no names.

        Raises:
            PluginError: the function that should name them cannot be had.
        """
        theirs = weights[-1].classes if weights else None
        return tuple(resolve(theirs)()) if isinstance(theirs, str) else theirs or self.classes

    def _no_weights(self, intent: str) -> UsageError:
        names = ", ".join(w.name for w in self.weights) or "none"
        recipe, of_another = (self.name, "") if "/" not in self.name else ("RECIPE", f" --set model={self.name}")
        train = f"zoo run {recipe}{of_another}, then zoo predict runs/{recipe}/latest IMAGE"
        return UsageError(
            f"{self.name} has no {intent!r} weights",
            why=f"weights on its card: {names}",
            fix=train if intent == "trained" else "--weights none starts at random",
        )


class Catalogue(FrozenModel):
    """Many models of one origin, named `NAME/…`: each has its card made when it is looked up.

    `card(name: str) -> ModelCard` needs no torch.
    """

    name: Name
    summary: str
    models: frozenset[Name]  # each with the catalogue's name before its slash
    card: Reference

    @model_validator(mode="after")
    def _its_models_are_below_its_name(self) -> Self:
        if other := sorted(name for name in self.models if not name.startswith(f"{self.name}/")):
            raise ValueError(f"{other[0]!r} is not named {self.name}/…")
        return self


class Edition(FrozenModel):
    """One form in which a dataset can be had."""

    name: Name
    summary: str
    files: Mapping[str, File]
    examples: Mapping[Split, PositiveInt]  # images in each split


class DatasetCard(FrozenModel):
    """One dataset of labelled images.

    `loader(files: Mapping[str, Path], split) -> ImageSet` opens one split of an edition's files.
    """

    name: Name
    summary: str
    license: str
    attribution: str
    source: str
    classes: tuple[str, ...]
    editions: tuple[Edition, ...] = Field(min_length=1)  # the first is the default
    loader: Reference

    def edition(self, name: str | None = None) -> Edition:
        """Return one edition; None: the first. Raises UnknownName."""
        editions = {one.name: one for one in self.editions}
        if name is not None and name not in editions:
            raise UnknownName(f"edition of {self.name}", name, editions, fix=f"zoo show {self.name}")
        return editions[name] if name is not None else self.editions[0]


RecipeField = Literal["epochs", "batch_size", "optimizer", "schedule", "augment", "precision", "seed"]
RECIPE_FIELDS: tuple[RecipeField, ...] = get_args(RecipeField)


class TrainerCard(FrozenModel):
    """One way to train: `trainer` is a class whose instances have `fit(job, resume)`; see `zoo_core.Trainer`."""

    name: Name
    summary: str
    trainer: Reference
    settings: Reference  # a pydantic model of the trainer's own settings, in a module that needs no torch
    needs_head: bool = False  # a model whose card names no head is refused
    uses: tuple[RecipeField, ...] = RECIPE_FIELDS  # a recipe that sets another of these fields is refused


def resolve(reference: str) -> Any:  # noqa: ANN401 - what a reference names can be anything
    """Return the object that `reference` ("module:name") names.

    Raises:
        PluginError: it cannot be imported.
    """
    try:
        return resolve_name(reference)
    except Exception as error:
        raise PluginError(
            f"{reference!r} cannot be imported",
            why=f"{type(error).__name__}: {error}",
            fix=f"python -c 'import {reference.partition(':')[0]}'",
        ) from error
