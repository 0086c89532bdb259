"""Looks up the components that a recipe names, and validates their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from zoo_core.cards.components import Component, ComponentKind
from zoo_core.cards.fields import FrozenModel, resolve
from zoo_core.errors import UsageError, did_you_mean
from zoo_core.recipes.component_choice import ComponentChoice, Rate
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.settings import BUILT_IN
from zoo_core.registry.pydantic_errors import faults_of


class NoSettings(FrozenModel):
    """The settings of a component that has none."""


class OnlyLearningRate(FrozenModel):
    """The settings of an optimizer whose card names no model of them."""

    lr: Rate = Field(default=1e-3, description="learning rate")


def settings_model(component: Component) -> type[BaseModel]:
    """Return the pydantic model of a component's settings. Raises PluginError if it cannot be imported."""
    if component.settings is None:
        return OnlyLearningRate if component.kind == "optimizer" else NoSettings
    model: type[BaseModel] = resolve(component.settings)
    return model


def bind_components(recipe: Recipe, known: Mapping[str, Component]) -> tuple[Recipe, tuple[Component, ...]]:
    """Return the recipe with its plugins' components looked up and their settings complete, and these components.

    Raises:
        UsageError: names are unknown or settings invalid; every fault is listed with its key.
        PluginError: a component's settings cannot be imported.
    """
    lookup = _Lookup(known)
    changes = {
        "optimizer": lookup.bind("optimizer", "optimizer", recipe.optimizer),
        "loss": lookup.bind("loss", "loss", recipe.loss),
        "augment": tuple(lookup.bind("augmentation", f"augment.{n}", x) for n, x in enumerate(recipe.augment)),
        "metrics": tuple(lookup.bind("metric", f"metrics.{n}", x) for n, x in enumerate(recipe.metrics)),
    }
    if lookup.faults:
        why = "\n".join(f"  {fault}" for fault in lookup.faults)
        raise UsageError(f"recipe {recipe.name!r} is not valid", why=why, fix="zoo list")
    if not lookup.used:
        return recipe, ()
    return recipe.model_copy(update=changes), tuple(lookup.used.values())


class _Lookup:
    """Binds choices, and collects what is wrong with them."""

    def __init__(self, known: Mapping[str, Component]) -> None:
        self.known = known
        self.used: dict[str, Component] = {}
        self.faults: list[str] = []

    def bind(self, kind: ComponentKind, key: str, choice: FrozenModel) -> FrozenModel:
        """Return the choice, bound if it is a plugin's."""
        if not isinstance(choice, ComponentChoice):
            return choice
        component = self.known.get(choice.name)
        if component is None or component.kind != kind:
            self.faults.append(f"{key}.name: {self._unknown(kind, choice.name)}")
            return choice
        settings = self._settings(component, key, choice)
        self.used[component.name] = component
        return choice if settings is None else choice.bound_to(component, settings)

    def _settings(self, component: Component, key: str, choice: ComponentChoice) -> dict[str, Any] | None:
        model = settings_model(component)
        try:
            return model.model_validate(choice.model_dump(exclude={"name"}, exclude_unset=True)).model_dump(mode="json")
        except ValidationError as error:
            self.faults += faults_of(error, model, f"{key}.")
            return None

    def _unknown(self, kind: ComponentKind, name: str) -> str:
        if name in self.known:
            return f"{name!r} names a component of kind {self.known[name].kind}, not {kind}"
        names = sorted({*BUILT_IN[kind], *(one.name for one in self.known.values() if one.kind == kind)})
        listed = f"; there are {', '.join(names)}" if names else ""
        return f"no {kind} named {name!r}{did_you_mean(name, names) or listed}"
