"""All cards and recipes that there are, as one frozen value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from zoo_core.cards import DatasetCard, FrozenModel, ModelCard, TrainerCard, WeightsCard, resolve
from zoo_core.errors import IntegrityError, Problem, UnknownName, UsageError
from zoo_core.images.folder import scan
from zoo_core.recipes import ModelReference, Plan, Recipe
from zoo_core.registry.discovery import PluginContents, collect, find_plugins
from zoo_core.registry.imported_weights import ImportedWeights, with_imported
from zoo_core.registry.model_index import ModelIndex
from zoo_core.registry.pydantic_errors import to_usage_error
from zoo_core.registry.registry_file import (
    RegistryFile,
    override,
    packaged_registry,
    read_registry,
)
from zoo_core.registry.trainer_limits import refuse_unsupported

SUBJECT = ("model", "model_options", "dataset", "trainer")  # what documented figures are about
T = TypeVar("T")


@dataclass(frozen=True)
class Registry:
    """A snapshot of what is installed and written down, by name; and the problems met while loading it."""

    models: ModelIndex
    datasets: Mapping[str, DatasetCard]
    trainers: Mapping[str, TrainerCard]
    recipes: Mapping[str, Recipe]
    references: Mapping[str, ModelReference]  # documented and derived counts, by model
    plugins: tuple[PluginContents, ...]
    problems: tuple[Problem, ...]
    imported_weights: Mapping[str, tuple[WeightsCard, ...]] = field(default_factory=dict)  # by model

    def model(self, name: str) -> ModelCard:
        """Return a model's card, with the weights that the user has imported for it, or raise UnknownName."""
        return with_imported(_look_up("model", self.models, name), self.imported_weights)

    def dataset(self, name: str) -> DatasetCard:
        """Return a dataset's card, or raise UnknownName."""
        return _look_up("dataset", self.datasets, name)

    def plan(
        self,
        name: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        device: str = "auto",
        data: Path | None = None,
    ) -> Plan:
        """Return the plan for a recipe, with fields overridden by dotted key: {"optimizer.lr": 3e-4}.

        With `data`, a folder of images takes the dataset's place, its classes become the model's, and the documented
        figures, which are not about it, are dropped.

        Raises:
            UnknownName: there is no such recipe, model, dataset, edition, trainer or key.
            UsageError: the values do not fit.
            DataError: `data` is no folder.
        """
        original = _look_up("recipe", self.recipes, name)
        recipe = override(original, overrides or {})
        if any(getattr(recipe, field) != getattr(original, field) for field in SUBJECT):
            recipe = recipe.model_copy(update={"reference": None})
        if data is not None:
            data, recipe = data.absolute(), recipe.model_copy(update={"reference": None, "edition": None})
        plan = self._planned(recipe, device, data)
        refuse_unsupported(plan.trainer, plan.model, recipe, changed_from=original)
        return plan

    def plan_again(self, plan: Plan) -> Plan:
        """Return the same plan with the cards that are installed: a plan may come from anyone, and names no code.

        Raises:
            IntegrityError: the installed cards are others than the plan's; what differs is named.
        """
        again = self._planned(plan.recipe, plan.device, plan.data)
        if len(again.weights) == len(plan.weights) and all(
            map(WeightsCard.matches_pinned, again.weights, plan.weights)
        ):
            again = again.model_copy(update={"weights": plan.weights})  # the bytes that the run began with
        then, now = _identity(plan), _identity(again)
        other = [name for name in then if now[name] != then[name]]
        if other:
            raise IntegrityError(
                f"this plan was made with another {', '.join(other)} than what is here",
                why="a package was changed, or the folder of images was",
                fix="install the versions that environment.json names",
            )
        return again

    def _planned(self, recipe: Recipe, device: str, data: Path | None) -> Plan:
        """Look up all that a recipe names."""
        plain = self._installed("model", self.models, recipe.model)
        model = plain.variant(recipe.model_options)  # a plan names its weights: what else was imported is not about it
        dataset = self._installed("dataset", self.datasets, recipe.dataset) if data is None else scan(data).dataset
        trainer = _look_up("trainer", self.trainers, recipe.trainer)
        return Plan(
            recipe=recipe,
            model=model,
            dataset=dataset,
            edition=dataset.edition(recipe.edition),
            trainer=trainer,
            settings=_settings(recipe, trainer),
            weights=_starting_weights(
                recipe, with_imported(plain, self.imported_weights).variant(recipe.model_options), dataset
            ),
            classes=dataset.classes,
            device=device,
            data=data,
        )

    def _installed(self, kind: str, table: Mapping[str, T], name: str) -> T:
        """Look up what a recipe needs; it may be in a plugin that is not installed."""
        if name not in table:
            raise UnknownName(kind, name, table, why="a plugin may bring it", fix=f"pip install zoo-{name}")
        return table[name]


def load_registry(files: Iterable[Path] = (), manager: pluggy.PluginManager | None = None) -> Registry:
    """Load the packaged registry, what the plugins bring, and then `files`; the same name twice is a Problem.

    Args:
        files: registry files of the user's own.
        manager: the plugins to ask; None: all that are installed.

    Raises:
        UsageError: a file is no valid registry; every fault in it is named.
    """
    manager, problems = find_plugins() if manager is None else (manager, ())
    offers, broken = collect(manager)
    own, unreadable = ImportedWeights.default().load()
    return replace(registry_of(offers, files, [*problems, *broken, *unreadable]), imported_weights=own)


def registry_of(
    offers: Iterable[PluginContents], files: Iterable[Path] = (), problems: Iterable[Problem] = ()
) -> Registry:
    """Return the registry of the packaged file, of offers and of files, in this order; raises UsageError."""
    return _Loader(list(problems)).load(offers, [packaged_registry(), *files])


def matching(names: Iterable[str], pattern: str | None) -> list[str]:
    """Return the names that a glob matches, sorted; a pattern without a star or a question mark matches within."""
    if pattern is None:
        return sorted(names)
    glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return sorted(name for name in names if fnmatchcase(name, glob))


def list_models(pattern: str | None = None, *, registry: Registry | None = None) -> list[str]:
    """Return the names of the models there are, of those that a glob such as "*cnn*" matches; without torch."""
    return matching((registry or load_registry()).models, pattern)


class _Loader:
    """Fills the registry, and notes who was first with each name."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.owners: dict[tuple[str, str], str] = {}
        self.tables: dict[str, dict[str, Any]] = {
            kind: {} for kind in ("models", "catalogues", "datasets", "trainers", "recipes", "references")
        }
        self.offers: list[PluginContents] = []

    def load(self, offers: Iterable[PluginContents], files: Iterable[Path]) -> Registry:
        first, *others = ((path, read_registry(path)) for path in files)
        self._add_file(*first)  # the packaged names are reserved
        for offer in offers:
            self._add_offer(offer)
        for path, content in others:
            self._add_file(path, content)
        tables = {kind: MappingProxyType(table) for kind, table in self.tables.items()}
        models = ModelIndex(tables.pop("models"), tables.pop("catalogues"))
        return Registry(models=models, **tables, plugins=tuple(self.offers), problems=tuple(self.problems))

    def _add_offer(self, offer: PluginContents) -> None:
        """Take all that a plugin brings, or nothing of it."""
        taken = [name for name, count in Counter(offer.takes).items() if name in self.owners or count > 1]
        if taken:
            self.problems.extend(self._taken(*name, offer.plugin) for name in taken)
            return
        self.offers.append(offer)
        self.owners |= dict.fromkeys(offer.takes, offer.plugin)
        for kind, name, value in offer.items:
            self.tables[kind][name] = value

    def _add_file(self, path: Path, content: RegistryFile) -> None:
        entries: list[tuple[str, str, FrozenModel]] = [
            ("recipes", name, recipe) for name, recipe in content.recipes.items()
        ]
        entries += [("references", name, figures) for name, figures in content.models.items()]
        for kind, name, value in entries:
            if (kind, name) in self.owners:
                self.problems.append(self._taken(kind, name, str(path)))
            else:
                self.owners[kind, name] = str(path)
                self.tables[kind][name] = value

    def _taken(self, kind: str, name: str, owner: str) -> Problem:
        first = self.owners.get((kind, name), owner)
        cause = f"it brings the {kind.removesuffix('s')} {name!r}, which {first} has already brought"
        return Problem(owner, cause, f"rename {name!r} in one of the two, or uninstall one")


def _look_up(kind: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]


def _starting_weights(recipe: Recipe, model: ModelCard, dataset: DatasetCard) -> tuple[WeightsCard, ...]:
    """Pick the weights to start from; a trained head is never taken for other classes than its own."""
    picked = model.pick_weights(recipe.weights)
    if not picked or picked[-1].covers == "backbone" or recipe.weights == "pretrained":
        return picked
    theirs = model.classes_for(picked)
    if theirs is not None and theirs != dataset.classes:
        raise UsageError(
            f"weights {picked[-1].name!r} of {model.name} are for other classes",
            why=f"theirs: {shorten(', '.join(theirs), 200)}; the data's: {', '.join(dataset.classes)}",
            fix="--weights pretrained, which keeps the backbone below a fresh head",
        )
    return picked


def _settings(recipe: Recipe, trainer: TrainerCard) -> dict[str, Any]:
    model = resolve(trainer.settings)
    try:
        settings: dict[str, Any] = model.model_validate(dict(recipe.settings)).model_dump(mode="json")
    except ValidationError as error:
        where = f"settings of recipe {recipe.name!r} (trainer {trainer.name!r})"
        raise to_usage_error(error, where, model, fix=f"zoo show {trainer.name}") from error
    return settings


def _identity(plan: Plan) -> dict[str, Any]:
    """Return what two plans must share to do the same work: names, settings and hashes, never module paths or prose."""
    recipe = plan.recipe.model_dump(exclude={"summary", "reference"})
    return {
        "recipe": recipe,
        "model": plan.model.model_dump(include={"name", "input", "num_classes", "classes", "head", "parameters"}),
        "dataset": (plan.dataset.name, plan.dataset.classes),
        "edition": (plan.edition.name, plan.edition.examples, {n: f.sha256 for n, f in plan.edition.files.items()}),
        "trainer": plan.trainer.name,
        "settings": dict(plan.settings),
        "weights": [
            w.model_dump(include={"name", "covers", "backbone", "file", "input", "classes"}) for w in plan.weights
        ],
        "classes": plan.classes,
        "device": plan.device,
        "data": plan.data,
    }
