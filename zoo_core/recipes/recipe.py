"""A named training configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    model_validator,
)

from zoo_core.cards.fields import FrozenModel, Head, Name, Resize, Unit
from zoo_core.recipes.reference import RecipeReference
from zoo_core.recipes.settings import (
    Adam,
    Augmentation,
    Count,
    CrossEntropy,
    Factor,
    Loss,
    Metric,
    Optimizer,
    PrecisionName,
    Seed,
    SplitSettings,
)


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
    head_units: NonNegativeInt | None = Field(
        default=None,
        description="replace the model's head: 0 by one linear layer, more by a hidden layer of this many units and a "
        "linear layer; None: the model's own head",
    )
    resize: Resize | None = Field(
        default=None, description="how images are made square: squash, crop or pad; None: as the weights were trained"
    )
    split: SplitSettings = Field(default=SplitSettings(), description="how your own images are split")
    augment: tuple[Augmentation, ...] = Field(default=(), description="augmentations of training images, in order")
    epochs: Count = Field(description="passes over the training images")
    batch_size: Count = Field(description="images per step, summed over all processes")
    optimizer: Optimizer = Field(default=Adam(), description="optimizer and its settings")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate schedule, stepped per batch; cosine decays to 0 at the last step"
    )
    warmup: Unit = Field(
        default=0.0, description="share of all steps in which the learning rate rises linearly, before the schedule"
    )
    layer_decay: Unit = Field(
        default=1.0,
        description="learning rate of each block of layers as a multiple of the next block's, up to the head; 1: the "
        "same for all",
    )
    clip_norm: Factor | None = Field(default=None, description="largest norm of the gradient; None: any")
    accumulate: Count = Field(
        default=1, description="forward passes per step: the batch is computed in this many parts"
    )
    ema: Unit | None = Field(
        default=None,
        description="decay per step of the average of the weights, which is what is measured and kept; in the first "
        "steps it is at most (1 + step) / (10 + step); None: the weights themselves",
    )
    balance: Unit = Field(
        default=0.0,
        description="class weights in cross-entropy, for uneven classes: (1 / frequency) ** balance, scaled to a mean "
        "of 1 over the training images; 0: none, 1: fully inverse to the class frequencies",
    )
    loss: Loss = Field(default=CrossEntropy(), description="loss and its settings; a name alone takes the defaults")
    metrics: tuple[Metric, ...] = Field(
        default=(),
        description="more metrics, by name: each is measured on the validation images after every epoch, and recorded "
        "as validation_NAME",
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="the epoch whose weights the run keeps; best is measured by `monitor`"
    )
    monitor: str = Field(
        default="validation_accuracy", description="metric that `keep` and `patience` compare epochs by"
    )
    patience: Count | None = Field(
        default=None,
        description="stop after this many epochs in a row without a better `monitor`; None: train all epochs",
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
