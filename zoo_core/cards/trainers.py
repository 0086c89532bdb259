"""Trainers, and the recipe fields that they use."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from zoo_core.cards.fields import (
    FrozenModel,
    Name,
    Reference,
    Task,
)

RecipeField = Literal[
    "epochs",
    "batch_size",
    "optimizer",
    "schedule",
    "warmup",
    "layer_decay",
    "clip_norm",
    "accumulate",
    "ema",
    "augment",
    "balance",
    "loss",
    "metrics",
    "precision",
    "seed",
    "split.folds",
]


RECIPE_FIELDS: tuple[RecipeField, ...] = get_args(RecipeField)


LOOP_FIELDS: tuple[RecipeField, ...] = tuple(field for field in RECIPE_FIELDS if field != "split.folds")  # of Job.loop


WITH_OWN_LOSS: tuple[RecipeField, ...] = tuple(field for field in LOOP_FIELDS if field not in ("loss", "balance"))


class TrainerCard(FrozenModel):
    """One training algorithm."""

    name: Name
    summary: str
    trainer: Reference = Field(description="a class whose instances have `fit(job, resume)`: see `zoo_core.Trainer`")
    settings: Reference = Field(description="a pydantic model of its settings, in a module that does not import torch")
    needs_head: bool = Field(default=False, description="whether models without a head are refused")
    needs_weights: bool = Field(
        default=False,
        description="whether a model with random weights is refused unless the setting `allow_random` is true",
    )
    tasks: tuple[Task, ...] = Field(
        default=("single-label",),
        description="how many labels an image may have; `Job.loop` can do both with the recipe's loss. Data of another "
        "task is refused",
    )
    uses: tuple[RecipeField, ...] = Field(
        default=WITH_OWN_LOSS,
        description="recipe fields that it uses; a recipe that sets another one is refused. The default leaves out "
        "`loss` and `balance`, because most trainers in plugins compute a loss themselves, and `split.folds`, with "
        "which there are no validation images, and the trainer validates by cross-validation",
    )
