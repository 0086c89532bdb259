"""Finds plugins and asks them what they bring; one that fails is left out whole, and the rest works.

This is the only file that calls pluggy or reads entry points. Pluggy's own loader has no isolation, and passes over a
second distribution with the same entry-point name in silence; so entry points are loaded one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TypeVar

import pluggy

from zoo_core import hookspecs, trainers
from zoo_core.cards import Catalogue, DatasetCard, ModelCard, TrainerCard, Value
from zoo_core.errors import Problem, did_you_mean
from zoo_core.recipes import Recipe

T = TypeVar("T")

BRINGS = MappingProxyType(
    {
        "zoo_models": ModelCard,
        "zoo_catalogues": Catalogue,
        "zoo_datasets": DatasetCard,
        "zoo_trainers": TrainerCard,
        "zoo_recipes": Recipe,
    }
)


@dataclass(frozen=True)
class Offer:
    """What one plugin brings."""

    plugin: str  # "zoo-fashion-cnn 0.1.0"
    models: tuple[ModelCard, ...] = ()
    catalogues: tuple[Catalogue, ...] = ()
    datasets: tuple[DatasetCard, ...] = ()
    trainers: tuple[TrainerCard, ...] = ()
    recipes: tuple[Recipe, ...] = ()

    @property
    def items(self) -> tuple[tuple[str, str, Value], ...]:
        """All of it, as (kind, name, value)."""
        return (
            *(("models", card.name, card) for card in self.models),
            *(("catalogues", catalogue.name, catalogue) for catalogue in self.catalogues),
            *(("datasets", card.name, card) for card in self.datasets),
            *(("trainers", card.name, card) for card in self.trainers),
            *(("recipes", recipe.name, recipe) for recipe in self.recipes),
        )

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """All names it takes, as (kind, name): those of its items, and those of the models in its catalogues."""
        own = tuple((kind, name) for kind, name, _ in self.items)
        return own + tuple(("models", name) for catalogue in self.catalogues for name in catalogue.models)


class BrokenPlugin(Exception):
    """A plugin raised, or returned what no hook may return."""


def find_plugins(points: Iterable[EntryPoint] | None = None) -> tuple[pluggy.PluginManager, tuple[Problem, ...]]:
    """Load the core's own plugin and every installed one; None: the entry points of the installed distributions."""
    manager = new_manager()
    points = entry_points(group=hookspecs.GROUP) if points is None else points
    problems = [_load(manager, point) for point in sorted(points, key=_order)]
    return manager, tuple(problem for problem in problems if problem)


def new_manager() -> pluggy.PluginManager:
    """Return a manager that knows the hooks and the core's own plugin, and no other."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(trainers, name="zoo-core")
    return manager


def collect(manager: pluggy.PluginManager) -> tuple[tuple[Offer, ...], tuple[Problem, ...]]:
    """Ask every registered plugin what it brings."""
    offers, problems = [], []
    for name, plugin in manager.list_name_plugin():
        try:
            offers.append(_ask(manager, name, plugin))
        except BrokenPlugin as error:
            problems.append(_problem(name, str(error)))
    return tuple(offers), tuple(problems)


def _order(point: EntryPoint) -> tuple[str, str]:
    return (_distribution(point), point.name)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.name


def _load(manager: pluggy.PluginManager, point: EntryPoint) -> Problem | None:
    """Import one plugin and register it, or say what is wrong with it."""
    name = _distribution(point)
    if manager.has_plugin(name):
        name = f"{name} [{point.name}]"
    try:
        manager.register(_isolated(point.load, f"importing {point.value!r}"), name=name)
    except BrokenPlugin as error:
        return _problem(name, str(error))
    except (pluggy.PluginValidationError, ValueError) as error:
        return _problem(name, str(error))
    return None


def _ask(manager: pluggy.PluginManager, name: str, plugin: object) -> Offer:
    brought: dict[str, tuple[Value, ...]] = {}
    for caller in manager.get_hookcallers(plugin) or ():
        if not caller.has_spec():
            raise BrokenPlugin(f"there is no hook named {caller.name!r}{did_you_mean(caller.name, BRINGS)}")
        implementation = next(impl.function for impl in caller.get_hookimpls() if impl.plugin is plugin)
        returned = _isolated(lambda hook=implementation: list(hook()), f"its {caller.name} hook")  # type: ignore[misc]
        brought[caller.name] = _checked(caller.name, returned)
    return Offer(name, **{hook.removeprefix("zoo_"): values for hook, values in brought.items()})  # type: ignore[arg-type]


def _checked(hook: str, returned: list[object]) -> tuple[Value, ...]:
    for value in returned:
        if not isinstance(value, BRINGS[hook]):
            raise BrokenPlugin(f"its {hook} hook returned a {type(value).__name__}, not a {BRINGS[hook].__name__}")
    return tuple(returned)  # type: ignore[arg-type]


def _isolated(call: Callable[[], T], what: str) -> T:
    """Call into a plugin: whatever it raises becomes BrokenPlugin, whatever it prints goes to stderr."""
    try:
        with redirect_stdout(sys.stderr):
            return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end the program that lists it
        text = str(error).strip().splitlines()
        raise BrokenPlugin(f"{what} raised {type(error).__name__}{': ' + text[0] if text else ''}") from error


def _problem(name: str, cause: str) -> Problem:
    return Problem(name, cause, f"pip install --upgrade {name.split()[0]}, or pip uninstall {name.split()[0]}")
