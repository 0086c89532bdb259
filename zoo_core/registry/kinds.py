"""The kinds of things that plugins provide: everything that differs between kinds is looked up in this table."""

from __future__ import annotations

from dataclasses import dataclass

from zoo_core.cards.components import Component
from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.fields import FrozenModel
from zoo_core.cards.models import Catalogue, ModelCard
from zoo_core.cards.trainers import TrainerCard
from zoo_core.recipes.recipe import Recipe


@dataclass(frozen=True)
class Kind:
    """One kind: its name for people, the class of its values, and the hook that returns them."""

    name: str  # "model"
    card: type[FrozenModel]
    hook: str  # "zoo_models", declared in hookspecs.py

    @property
    def plural(self) -> str:
        """Its key in a registry's tables and in JSON: "models"."""
        return self.hook.removeprefix("zoo_")


KINDS: tuple[Kind, ...] = (  # in the order in which commands print them
    Kind("model", ModelCard, "zoo_models"),
    Kind("catalogue", Catalogue, "zoo_catalogues"),
    Kind("dataset", DatasetCard, "zoo_datasets"),
    Kind("trainer", TrainerCard, "zoo_trainers"),
    Kind("component", Component, "zoo_components"),
    Kind("recipe", Recipe, "zoo_recipes"),
)
