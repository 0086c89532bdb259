"""Finds plugins and collects what they provide; one that fails is skipped, and the others still work.

This is the only file that calls pluggy or loads entry points. Pluggy's own loader has no isolation, and silently
ignores a second distribution with the same entry-point name, so entry points are loaded one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import EntryPoint
from types import MappingProxyType

import pluggy

from zoo_core import hookspecs
from zoo_core.cards.fields import FrozenModel
from zoo_core.errors import Problem, did_you_mean
from zoo_core.registry import builtin as trainers, kinds
from zoo_core.registry.contents import PluginContents
from zoo_core.registry.distributions import Distribution, installed
from zoo_core.registry.isolation import BrokenPlugin, call_isolated
from zoo_core.registry.kinds import Kind
from zoo_core.registry.settings import UserConfig

HOOK_ARGUMENTS: Mapping[str, object] = MappingProxyType({})  # passed to every hook; a hookimpl takes those it names


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
    """Collect what every registered plugin provides."""
    offers, problems = [], []
    for name, plugin in manager.list_name_plugin():
        try:
            offers.append(_ask(manager, name, plugin))
        except BrokenPlugin as error:
            problems.append(_problem(name, str(error)))
    return tuple(offers), tuple(problems)


def _enabled() -> list[Distribution]:
    disabled = UserConfig.default().settings().disabled
    return [plugin for plugin in installed() if plugin.name not in disabled]


def _load(manager: pluggy.PluginManager, name: str, point: EntryPoint) -> Problem | None:
    """Import one plugin and register it, or return what is wrong with it."""
    if manager.has_plugin(name):
        name = f"{name} [{point.name}]"
    try:
        manager.register(call_isolated(point.load, f"importing {point.value!r}", point.value), name=name)
    except BrokenPlugin as error:
        return _problem(name, str(error))
    except pluggy.PluginValidationError as error:
        manager.unregister(name=name)  # it is still registered, with the hooks that pluggy read before the bad one
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
    results: list[list[object]] = call_isolated(
        lambda: [list(values) for values in caller(**HOOK_ARGUMENTS)], f"its {kind.hook} hook", _package(plugin)
    )
    if not results and any(not (impl.wrapper or impl.hookwrapper) for impl in caller.get_hookimpls()):
        raise BrokenPlugin(f"its {kind.hook} hook returned None, not an iterable")  # pluggy drops None
    return [value for returned in results for value in returned]


def _package(plugin: object) -> str:
    """Return the name of the package that a plugin's code is in; a plugin may be a module or an instance."""
    return str(getattr(plugin, "__name__", type(plugin).__module__))


def _checked(kind: Kind, returned: list[object]) -> tuple[FrozenModel, ...]:
    for value in returned:
        if not isinstance(value, kind.card):
            raise BrokenPlugin(f"its {kind.hook} hook returned a {type(value).__name__}, not a {kind.card.__name__}")
        call_isolated(partial(_validate, value), f"a value of its {kind.hook} hook", value.__class__.__module__)
    return tuple(returned)  # type: ignore[arg-type]


def _validate(value: FrozenModel) -> None:
    """Validate a value: `model_construct` and `model_copy` skip validation."""
    type(value).model_validate(value.model_dump(warnings=False))


def _problem(plugin: str, cause: str) -> Problem:
    return Problem(plugin, cause, f"zoo plugins disable {plugin.split()[0]}")
