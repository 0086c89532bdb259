"""Checks for a plugin's own tests: does everything it provides do what its cards declare?

    from zoo_core.testing import check_distribution


    def test_the_plugin_passes_all_checks() -> None:
        check_distribution("zoo-alexnet")

Each `check_...` function returns None, or raises CheckFailed and lists every failed check; `zoo plugins check` prints
all checks. Nothing is downloaded: code that uses the network while it is checked fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zoo_core.errors import CheckFailed, NetworkError, PluginError, UnknownName
from zoo_core.plugin_tools.doctor import examine_all
from zoo_core.recipes.reference import ModelReference
from zoo_core.registry.distributions import Distribution, installed_as
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.registry.settings import UserConfig
from zoo_core.store.store import Store

if TYPE_CHECKING:  # importing this module does not import torch
    from zoo_core.engine.training.trainer import Job
    from zoo_core.results import Check

MAX_IMPORT_MS = 50.0  # for an entry module, when zoo_core is already imported
TRIES, IMPORT_TIMEOUT = 3, 10.0  # imports, of which the fastest counts; seconds for each
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")  # audit events


def check_model(name: str, *, registry: Registry | None = None) -> None:
    """Check a model's card, parameter counts, logits, preprocessing, frozen backbone, saving and loading, and weights.

    Weights that are on this machine are loaded, and the accuracies that their cards report are measured again.

    Raises:
        CheckFailed: a check failed; all failed checks are listed.
        UnknownName: there is no such model.
    """
    _raise_failed(_model(registry or load_registry(), name))


def check_dataset(name: str, *, registry: Registry | None = None) -> None:
    """Check a dataset's card, and the counts, labels and images of its editions on this machine.

    Raises:
        CheckFailed: a check failed; all failed checks are listed.
        UnknownName: there is no such dataset.
    """
    _raise_failed(_dataset(registry or load_registry(), name))


def check_trainer(name: str, *, settings: Mapping[str, Any] | None = None, registry: Registry | None = None) -> None:
    """Let a trainer train a tiny model on noise, resume from its first checkpoint, and train with other recipe fields.

    Every field in `TrainerCard.uses` is changed once: the result must differ, or the trainer must refuse with a
    UsageError. A trainer may refuse the tiny model, for example because distillation needs a teacher for the classes.
    Then it is tried on its plugin's recipes, each with eight images and two epochs. Recipes whose weights or data are
    not on this machine are not tried; `zoo plugins check` reports that.

    Args:
        name: as in `zoo list`.
        settings: settings to use instead of the defaults or of a recipe's.
        registry: None loads what is installed.

    Raises:
        CheckFailed: a check failed; all failed checks are listed.
        UnknownName: there is no such trainer.
    """
    _raise_failed(_trainer(registry or load_registry(), name, settings or {}))


def check_entry_module(distribution: str) -> None:
    """Check that a distribution's entry module does not import torch and takes less than 50 ms, in a separate process.

    Raises:
        CheckFailed: it does, or takes longer.
        UnknownName: no such distribution is installed.
    """
    _raise_failed(_entry_module(installed_as(distribution)))


def check_distribution(distribution: str) -> None:
    """Check an installed distribution's entry module and everything it provides.

    Raises:
        CheckFailed: a check failed; all failed checks are listed.
        UnknownName: no such distribution is installed.
        PluginError: it cannot be loaded, or is disabled.
    """
    _raise_failed(checks_of(distribution))


def checks_of(distribution: str) -> Iterator[Check]:
    """Yield the checks of `check_distribution` one by one; it raises the same errors except CheckFailed."""
    plugin, registry = installed_as(distribution), load_registry()
    contents = [content for content in registry.plugins if plugin.provides(content.plugin)]
    if not contents:
        raise _not_loaded(plugin, registry)
    yield from _entry_module(plugin)
    for kind, name, _ in (item for content in contents for item in content.entries):
        if kind in CHECKS:
            yield from CHECKS[kind](registry, name)


def _catalogue(registry: Registry, name: str) -> Iterator[Check]:
    yield from _model(registry, _smallest(registry, name))


def _smallest(registry: Registry, catalogue: str) -> str:
    """Return the smallest model of a catalogue; only this one is checked, because one function builds them all."""
    return min(registry.models.catalogues[catalogue].models, key=lambda name: (registry.model(name).parameters, name))


def _model(registry: Registry, name: str) -> Iterator[Check]:
    from zoo_core.engine.checks.conformance import model_checks
    from zoo_core.engine.checks.declared import check_probes, check_weights
    from zoo_core.engine.checks.guards import guarded

    card, store = registry.model(name), replace(Store.default(), offline=True)
    yield from _offline(name, model_checks(card, registry.references.get(name, ModelReference())))
    weights = list(check_weights(card, store))
    yield from weights
    if all(check.passed for check in weights):
        yield from _offline(
            f"{name}'s weights", guarded(name, "accuracies", lambda: check_probes(registry, card, store))
        )


def _dataset(registry: Registry, name: str) -> Iterator[Check]:
    from zoo_core.engine.checks.conformance import dataset_checks

    yield from _offline(name, dataset_checks(registry.dataset(name), replace(Store.default(), offline=True)))


def _trainer(registry: Registry, name: str, settings: Mapping[str, Any] = {}) -> Iterator[Check]:
    from zoo_core.engine.checks.conformance import trainer_checks

    if name not in registry.trainers:
        raise UnknownName("trainer", name, registry.trainers)
    jobs = {recipe: partial(_small_job, registry, recipe, settings) for recipe in _recipes_for(registry, name)}
    yield from _offline(name, trainer_checks(registry.trainers[name], settings, jobs))


def _recipes_for(registry: Registry, trainer: str) -> list[str]:
    """Return the recipes for a trainer in the plugin that provides it."""
    contents = [content for content in registry.plugins if trainer in content.names.get("trainers", [])]
    recipes = (recipe for content in contents for plural, _, recipe in content.entries if plural == "recipes")
    return [recipe.name for recipe in recipes if recipe.trainer == trainer]


def _small_job(registry: Registry, recipe: str, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> Job:
    from zoo_core.engine.checks.fixtures import few_images_job, small_overrides

    small = small_overrides(registry.trainers[registry.recipes[recipe].trainer])
    overrides = {**small, **{f"settings.{key}": value for key, value in settings.items()}, **changes}
    plan = registry.plan(recipe, overrides, device="cpu")
    return few_images_job(plan, replace(Store.default(), offline=True))


def _component(registry: Registry, name: str) -> Iterator[Check]:
    from zoo_core.engine.checks.components import component_checks

    yield from _offline(name, component_checks(registry.components[name]))


def _recipe(registry: Registry, name: str) -> Iterator[Check]:
    from zoo_core.engine.checks.declared import check_recipe

    yield check_recipe(registry, name)


CHECKS: Mapping[str, Callable[[Registry, str], Iterator[Check]]] = MappingProxyType(  # by the plural of their kind
    {
        "models": _model,
        "catalogues": _catalogue,
        "datasets": _dataset,
        "trainers": _trainer,
        "components": _component,
        "recipes": _recipe,
    }
)


def _entry_module(distribution: Distribution) -> Iterator[Check]:
    from zoo_core.results import Check  # plugins' tests import this module, and need it only if they check

    reports = [examine_all([distribution], IMPORT_TIMEOUT)[0] for _ in range(TRIES)]
    problems = [problem.cause for report in reports for problem in report.problems]
    yield Check(distribution.name, "problems in a separate process", [], problems[:1])
    imports_torch = any(report.imports_torch for report in reports)
    yield Check(distribution.name, "entry module imports torch", False, imports_torch)
    fastest = min((report.milliseconds for report in reports if report.milliseconds is not None), default=None)
    limit = f"under {MAX_IMPORT_MS:g} ms"
    slow = "not at all" if fastest is None else f"{fastest:.0f} ms"
    in_time = fastest is not None and fastest < MAX_IMPORT_MS
    yield Check(distribution.name, "entry module imports", limit, limit if in_time else slow)


def _offline(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """Run checks without the network, and add one: that they did not ask for it."""
    from zoo_core.results import Check  # as above

    with _no_network() as asked:
        done = list(checks)
    yield from done
    yield Check(name, "network requests", [], asked[:3])


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """Refuse network access to this process, and record what was asked for."""
    asked: list[str] = []
    refusing = [True]  # audit hooks cannot be removed: this one becomes idle

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if refusing and event in NETWORK_EVENTS:
            asked.append(f"{event} {arguments[-1] if event == 'socket.connect' else arguments[0]}")
            raise NetworkError("network access was refused", why="checks run without the network")

    sys.addaudithook(refuse)
    try:
        yield asked
    finally:
        refusing.clear()


def _not_loaded(plugin: Distribution, registry: Registry) -> PluginError:
    what = f"{plugin.name} cannot be checked"
    if plugin.name in UserConfig.default().settings().disabled:
        return PluginError(what, why="it is disabled", fix=f"zoo plugins enable {plugin.name}")
    causes = [problem.cause for problem in registry.problems if plugin.provides(problem.subject)]
    return PluginError(what, why="; ".join(causes), fix="zoo plugins doctor")


def _raise_failed(checks: Iterator[Check]) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        lines = [f"  {check.subject}: {check.what}: expected {check.expected}, found {check.found}" for check in failed]
        raise CheckFailed(f"{len(failed)} checks failed", why="\n".join(lines))
