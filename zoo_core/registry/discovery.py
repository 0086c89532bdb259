"""Finds plugins and asks them what they bring; one that fails is left out whole, and the rest works.

This is the only file that calls pluggy or loads entry points. Pluggy's own loader has no isolation, and passes over a
second distribution with the same entry-point name in silence; so entry points are loaded one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout, suppress
from functools import partial
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import TypeVar

import pluggy
from pydantic import ValidationError

from zoo_core import hookspecs
from zoo_core.cards import FrozenModel
from zoo_core.errors import Problem, did_you_mean
from zoo_core.registry import builtin as trainers, kinds
from zoo_core.registry.contents import PluginContents
from zoo_core.registry.distributions import Distribution, installed
from zoo_core.registry.kinds import Kind
from zoo_core.registry.pydantic_errors import first_error
from zoo_core.registry.settings import UserConfig

T = TypeVar("T")
LONGEST = 300  # characters of an error's text

HOOK_ARGUMENTS: Mapping[str, object] = MappingProxyType({})  # passed to every hook; a hookimpl takes those it names


class BrokenPlugin(Exception):
    """A plugin raised, or returned what no hook may return."""


def find_plugins(
    distributions: Iterable[Distribution] | None = None,
) -> tuple[pluggy.PluginManager, tuple[Problem, ...]]:
    """Load the core's own plugin and those of the distributions; None: of all that are installed and not disabled.

    A distribution that needs another zoo-core is a Problem, and is not imported.

    Raises:
        UsageError: the user's configuration cannot be read.
    """
    manager = new_manager()
    problems: list[Problem | None] = []
    for distribution in _enabled() if distributions is None else distributions:
        if distribution.incompatibility is not None:
            problems.append(distribution.incompatibility)
        else:
            problems.extend(_load(manager, distribution.label, point) for point in distribution.points)
    return manager, tuple(problem for problem in problems if problem)


def new_manager() -> pluggy.PluginManager:
    """Return a manager that knows the hooks and the core's own plugin, and no other."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(trainers, name="zoo-core")
    return manager


def collect(manager: pluggy.PluginManager) -> tuple[tuple[PluginContents, ...], tuple[Problem, ...]]:
    """Ask every registered plugin what it brings."""
    offers, problems = [], []
    for name, plugin in manager.list_name_plugin():
        try:
            offers.append(_ask(manager, name, plugin))
        except BrokenPlugin as error:
            problems.append(_problem(name, str(error)))
    return tuple(offers), tuple(problems)


def _enabled() -> list[Distribution]:
    disabled = UserConfig.default().settings().disabled
    return [one for one in installed() if one.name not in disabled]


def _load(manager: pluggy.PluginManager, name: str, point: EntryPoint) -> Problem | None:
    """Import one plugin and register it, or say what is wrong with it."""
    if manager.has_plugin(name):
        name = f"{name} [{point.name}]"
    try:
        manager.register(_isolated(point.load, f"importing {point.value!r}"), name=name)
    except BrokenPlugin as error:
        return _problem(name, str(error))
    except pluggy.PluginValidationError as error:
        manager.unregister(name=name)  # pluggy has kept it, with the hooks that it read before the bad one
        return _problem(name, str(error).splitlines()[-1])
    except ValueError as error:
        return _problem(name, str(error))
    return None


def _ask(manager: pluggy.PluginManager, name: str, plugin: object) -> PluginContents:
    hooks, known = [caller.name for caller in manager.get_hookcallers(plugin) or ()], [k.hook for k in kinds.KINDS]
    for unknown in set(hooks).difference(known):
        raise BrokenPlugin(f"there is no hook named {unknown!r}{did_you_mean(unknown, known)}")
    called = (kind for kind in kinds.KINDS if kind.hook in hooks)
    return PluginContents(name, {k.plural: _checked(k, _call_hook(manager, plugin, k)) for k in called})


def _call_hook(manager: pluggy.PluginManager, plugin: object, kind: Kind) -> list[object]:
    """Call one plugin's implementations of a hook, through pluggy, without those of the other plugins."""
    others = [other for other in manager.get_plugins() if other is not plugin]
    caller = manager.subset_hook_caller(kind.hook, others)
    results: list[list[object]] = _isolated(
        lambda: [list(values) for values in caller(**HOOK_ARGUMENTS)], f"its {kind.hook} hook"
    )
    if not results and any(not (impl.wrapper or impl.hookwrapper) for impl in caller.get_hookimpls()):
        raise BrokenPlugin(f"its {kind.hook} hook returned None, not an iterable")  # pluggy drops None
    return [value for returned in results for value in returned]


def _checked(kind: Kind, returned: list[object]) -> tuple[FrozenModel, ...]:
    for value in returned:
        if not isinstance(value, kind.card):
            raise BrokenPlugin(f"its {kind.hook} hook returned a {type(value).__name__}, not a {kind.card.__name__}")
        _isolated(partial(_validate, value), f"a value of its {kind.hook} hook")
    return tuple(returned)  # type: ignore[arg-type]


def _validate(value: FrozenModel) -> None:
    """Hold a value against its own rules: `model_construct` and `model_copy` pass them by."""
    type(value).model_validate(value.model_dump(warnings=False))


def _isolated(call: Callable[[], T], what: str) -> T:
    """Call into a plugin: whatever it raises becomes BrokenPlugin, whatever it prints goes to stderr."""
    try:
        with redirect_stdout(sys.stderr):
            return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end the program that lists it
        text = first_error(error) if isinstance(error, ValidationError) else _first_line(error)
        raise BrokenPlugin(f"{what} raised {type(error).__name__}{text and ': '}{text}") from error


def _first_line(error: BaseException) -> str:
    """Return what an error says, in short; one that cannot even be printed says nothing."""
    with suppress(Exception):
        return next(iter(str(error).strip().splitlines()), "")[:LONGEST]
    return ""


def _problem(name: str, cause: str) -> Problem:
    one = name.split()[0]
    return Problem(name, cause, f"pip install --upgrade {one}, zoo plugins disable {one}, or pip uninstall {one}")
