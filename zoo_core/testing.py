"""What a plugin's own tests can say in a line: does what it brings keep its word?

    from zoo_core.testing import check_distribution


    def test_it_keeps_its_word() -> None:
        check_distribution("zoo-alexnet")

Each `check_…` returns None, or raises CheckFailed with every figure that does not hold; `zoo plugins check` prints them
all. Nothing is fetched: whatever asks for the network while it is checked fails.
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
from zoo_core.plugin_tools.doctor import ImportReport, examine_all
from zoo_core.recipes import ModelReference
from zoo_core.registry.distributions import Distribution, installed_as
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.registry.settings import UserConfig
from zoo_core.store.store import Store

if TYPE_CHECKING:  # torch starts where something is checked
    from zoo_core.engine.training.trainer import Job
    from zoo_core.results import Check

FASTEST = 50.0  # milliseconds that an entry module may take to import, zoo_core being imported already
TRIES, PATIENCE = 3, 10.0  # imports, of which the fastest counts; seconds for one
ASKING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")  # what the interpreter tells of the network


def check_model(name: str, *, registry: Registry | None = None) -> None:
    """Check a model's card, parameter counts, logits, preprocessing, frozen backbone, and saving and loading.

    Raises:
        CheckFailed: something does not hold; all of it is named.
        UnknownName: there is no such model.
    """
    _hold(_model(registry or load_registry(), name))


def check_dataset(name: str, *, registry: Registry | None = None) -> None:
    """Check a dataset's card, and the counts, labels and images of its editions that need no network.

    Raises:
        CheckFailed: something does not hold; all of it is named.
        UnknownName: there is no such dataset.
    """
    _hold(_dataset(registry or load_registry(), name))


def check_trainer(name: str, *, settings: Mapping[str, Any] | None = None, registry: Registry | None = None) -> None:
    """Let a trainer train a tiny model on noise, and go on from its first checkpoint.

    A trainer may refuse the tiny model with a UsageError: one that distils needs a teacher which knows the images. Then
    it is tried on the recipes that its plugin brings for it, each cut to eight images and two epochs. A recipe whose
    weights or data are not on this machine is not tried, for nothing is fetched; `zoo plugins check` says so.

    Args:
        name: as `zoo list` gives it.
        settings: its own, where others than its defaults, or than a recipe's, are to be tried.
        registry: None loads what is installed.

    Raises:
        CheckFailed: something does not hold; all of it is named.
        UnknownName: there is no such trainer.
    """
    _hold(_trainer(registry or load_registry(), name, settings or {}))


def check_entry_module(distribution: str) -> None:
    """Check that a distribution's entry module imports no torch and takes less than 50 ms, in a process of its own.

    Raises:
        CheckFailed: it does not hold.
        UnknownName: no such distribution is installed.
    """
    _hold(_entry_module(installed_as(distribution)))


def check_distribution(distribution: str) -> None:
    """Check an installed distribution's entry module, and everything that it brings.

    Raises:
        CheckFailed: something does not hold; all of it is named.
        UnknownName: no such distribution is installed.
        PluginError: it cannot be loaded, or is disabled.
    """
    _hold(checks_of(distribution))


def checks_of(distribution: str) -> Iterator[Check]:
    """Yield what `check_distribution` looks at, one by one; raises as it does, but for CheckFailed."""
    one, registry = installed_as(distribution), load_registry()
    offers = [offer for offer in registry.plugins if one.provides(offer.plugin)]
    if not offers:
        raise _absent(one, registry)
    yield from _entry_module(one)
    for plural, name, _ in (entry for offer in offers for entry in offer.entries):
        if plural in CHECKS:
            yield from CHECKS[plural](registry, name)


def _catalogue(registry: Registry, name: str) -> Iterator[Check]:
    yield from _model(registry, _smallest(registry, name))


def _smallest(registry: Registry, catalogue: str) -> str:
    """Return the model of a catalogue that is checked for all of them: they are made by one function."""
    return min(registry.models.catalogues[catalogue].models, key=lambda name: (registry.model(name).parameters, name))


def _model(registry: Registry, name: str) -> Iterator[Check]:
    from zoo_core.engine.checks.conformance import model_checks

    card = registry.model(name)
    yield from _offline(name, model_checks(card, registry.references.get(name, ModelReference())))


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
    """Return the recipes for a trainer that are brought by who brings the trainer."""
    offers = [one for one in registry.plugins if trainer in one.names.get("trainers", [])]
    recipes = (recipe for one in offers for plural, _, recipe in one.entries if plural == "recipes")
    return [recipe.name for recipe in recipes if recipe.trainer == trainer]


def _small_job(registry: Registry, recipe: str, settings: Mapping[str, Any]) -> Job:
    from zoo_core.engine.checks.fixtures import SMALL, few_images_job

    overrides = {**SMALL, **{f"settings.{key}": value for key, value in settings.items()}}
    plan = registry.plan(recipe, overrides, device="cpu")
    return few_images_job(plan, replace(Store.default(), offline=True))


def _recipe(registry: Registry, name: str) -> Iterator[Check]:
    from zoo_core.engine.checks.declared import check_recipe

    yield check_recipe(registry, name)


CHECKS: Mapping[str, Callable[[Registry, str], Iterator[Check]]] = MappingProxyType(  # by the plural of their kind
    {"models": _model, "catalogues": _catalogue, "datasets": _dataset, "trainers": _trainer, "recipes": _recipe}
)


def _entry_module(distribution: Distribution) -> Iterator[Check]:
    from zoo_core.results import Check

    findings = [_examined(distribution) for _ in range(TRIES)]
    problems = [problem.cause for one in findings for problem in one.problems]
    yield Check(distribution.name, "problems in a process of its own", [], problems[:1])
    yield Check(distribution.name, "entry module imports torch", False, any(one.imports_torch for one in findings))
    taken = min((one.milliseconds for one in findings if one.milliseconds is not None), default=None)
    within = f"under {FASTEST:g} ms"
    told = within if taken is not None and taken < FASTEST else f"{taken:.0f} ms" if taken is not None else "not at all"
    yield Check(distribution.name, "entry module imports", within, told)


def _examined(distribution: Distribution) -> ImportReport:
    return examine_all([distribution], PATIENCE)[0]


def _offline(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """Pass checks on, made without a network, and end with whether one was asked for."""
    from zoo_core.results import Check

    with _no_network() as asked:
        found = list(checks)
    yield from found
    yield Check(name, "asked the network for", [], asked[:3])


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """Refuse the network to this process, and note what was asked of it."""
    asked: list[str] = []
    refusing = [True]  # a hook stays for as long as the process: this one turns idle

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if refusing and event in ASKING:
            asked.append(f"{event} {arguments[-1] if event == 'socket.connect' else arguments[0]}")
            raise NetworkError("the network was asked for", why="this is a check, which is made without one")

    sys.addaudithook(refuse)
    try:
        yield asked
    finally:
        refusing.clear()


def _absent(one: Distribution, registry: Registry) -> PluginError:
    if one.name in UserConfig.default().settings().disabled:
        return PluginError(f"{one.name} cannot be checked", why="it is disabled", fix=f"zoo plugins enable {one.name}")
    causes = [problem.cause for problem in registry.problems if one.provides(problem.subject)]
    return PluginError(f"{one.name} cannot be checked", why="; ".join(causes), fix="zoo plugins doctor")


def _hold(checks: Iterator[Check]) -> None:
    failed = [one for one in checks if not one.passed]
    if failed:
        lines = [f"  {one.subject}: {one.what}: expected {one.expected}, found {one.found}" for one in failed]
        raise CheckFailed(f"{len(failed)} checks failed", why="\n".join(lines))
