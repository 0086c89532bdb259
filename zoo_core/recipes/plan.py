"""A recipe with its cards resolved: everything that a run needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
)

from zoo_core.cards.components import Component
from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import FrozenModel, Split, Task
from zoo_core.cards.models import ImageInput, ModelCard, WeightsCard, WeightsSelection
from zoo_core.cards.trainers import TrainerCard
from zoo_core.recipes.recipe import Recipe


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
    data: Path | None = Field(
        default=None, description="the user's folder or CSV file of images, in place of the dataset"
    )

    @property
    def task(self) -> Task:
        """How many classes an image has: the dataset's task."""
        return self.dataset.task

    @property
    def input(self) -> ImageInput:
        """The preprocessing: that of the weights to start from, otherwise the model's, with the recipe's `resize`."""
        spec, resize = self.selection.input, self.recipe.resize
        return spec if resize is None else spec.model_copy(update={"resize": resize})

    @property
    def model_options(self) -> dict[str, Any]:
        """Keyword arguments for the model's builder: those that the weights need, and the recipe's."""
        return {**self.selection.options, **self.recipe.model_options}

    def with_examples(self, examples: Mapping[Split, int]) -> Plan:
        """Return the plan with these numbers of images in each split of its edition."""
        edition = self.edition.model_copy(update={"examples": dict(examples)})
        dataset = self.dataset.model_copy(update={"editions": (edition,)}) if self.data is not None else self.dataset
        return self.model_copy(update={"edition": edition, "dataset": dataset})

    @property
    def selection(self) -> WeightsSelection:
        """The weights to start from, and whether their head is loaded too."""
        return WeightsSelection(self.model, self.weights, self.recipe.head)

    @property
    def identity(self) -> dict[str, Any]:
        """What two plans must share to do the same work: names, settings and hashes, never module paths or prose."""
        return {
            "recipe": self.recipe.model_dump(exclude={"summary", "reference"}),
            "model": self.model.model_dump(include={"name", "input", "num_classes", "classes", "head", "parameters"}),
            "dataset": (self.dataset.name, self.dataset.classes, self.dataset.task),
            "edition": (self.edition.name, self.edition.examples, {n: f.sha256 for n, f in self.edition.files.items()}),
            "trainer": self.trainer.name,
            "settings": dict(self.settings),
            "weights": [weights.identity for weights in self.weights],
            "classes": self.classes,
            "device": self.device,
            "data": self.data,
        }
