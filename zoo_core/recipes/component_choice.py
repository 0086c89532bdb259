"""A recipe's choice of a plugin's augmentation, optimizer, loss or metric: a name and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, FiniteFloat, PrivateAttr

from zoo_core.cards.components import Component
from zoo_core.cards.fields import FrozenModel, Name
from zoo_core.errors import UsageError

Rate = Annotated[FiniteFloat, Field(gt=0)]  # learning rate
PLUGIN = "plugin"  # the tag of a plugin's component in a union with built-in ones


class ComponentChoice(FrozenModel):
    """A plugin's component by name; the other keys are its settings, which `Registry.plan` validates."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Name = Field(description="as in `zoo list`")
    _component: Component | None = PrivateAttr(default=None)  # never written or read: a plan.json cannot name code

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments for the component's code."""
        return self.model_dump(exclude={"name"})

    @property
    def component(self) -> Component:
        """The installed component. Raises UsageError before `Registry.plan` has looked it up."""
        if self._component is None:
            raise UsageError(
                f"{self.name} has not been looked up", why="Registry.plan finds the components that a recipe names"
            )
        return self._component

    def bound_to(self, component: Component, settings: Mapping[str, Any]) -> Self:
        """Return the choice of an installed component, with validated settings."""
        choice = type(self).model_validate({"name": self.name, **settings})
        choice._component = component
        return choice


class OptimizerChoice(ComponentChoice):
    """A plugin's optimizer by name; the other keys are its settings, which `Registry.plan` validates."""

    lr: Rate = Field(default=1e-3, description="learning rate; the plugin's settings may have another default")


def built_in_or_plugin(*built_in: str) -> Callable[[Any], str | None]:
    """Return the discriminator of a union: the name if it is built in, else PLUGIN; None without a name."""

    def tag(value: Any) -> str | None:  # noqa: ANN401 - not validated yet
        name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
        if not isinstance(name, str):
            return None
        return name if name in built_in else PLUGIN

    return tag


def named(value: Any) -> Any:  # noqa: ANN401 - not validated yet
    """Accept a name in place of a table: "focal" is {"name": "focal"}."""
    return {"name": value} if isinstance(value, str) else value
