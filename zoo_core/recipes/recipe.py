"""A named training configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    model_validator,
)

from zoo_core.cards.fields import FrozenModel, Head, Name
from zoo_core.recipes.reference import RecipeReference
from zoo_core.recipes.settings import (
    Adam,
    Augmentation,
    Count,
    CrossEntropy,
    Loss,
    Metric,
    Optimizer,
    PrecisionName,
    Seed,
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
