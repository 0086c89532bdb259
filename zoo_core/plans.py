"""A recipe with its cards looked up and its overrides applied: complete, printable, saved with every run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core.cards import DatasetCard, Edition, ImageInput, ModelCard, TrainerCard, Value, WeightsCard
from zoo_core.recipes import Recipe


class Plan(Value):
    """All that a run needs to know; what a run directory keeps as plan.json."""

    recipe: Recipe
    model: ModelCard
    dataset: DatasetCard
    edition: Edition
    trainer: TrainerCard
    settings: Mapping[str, Any]  # the trainer's own, complete
    weights: tuple[WeightsCard, ...]  # to start from, trunk first; empty: random
    classes: tuple[str, ...]  # of the data, in label order
    device: str = "auto"
    data: Path | None = None  # a folder of the user's own images, in place of the dataset

    @property
    def input(self) -> ImageInput:
        """The preprocessing: that of the weights to start from, else the model's."""
        return self.model.input_for(self.weights)

    @property
    def fresh_head(self) -> bool:
        """Whether the head starts at random, whatever the weights hold for it."""
        return self.recipe.weights == "pretrained"
