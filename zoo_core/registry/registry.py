"""All cards and recipes, as one immutable value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any, TypeVar, cast

import pluggy
from pydantic import ValidationError

from zoo_core.cards.components import Component
from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.fields import resolve
from zoo_core.cards.models import ModelCard, WeightsCard
from zoo_core.cards.trainers import TrainerCard
from zoo_core.errors import IntegrityError, Problem, UnknownName, UsageError
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.reference import ModelReference
from zoo_core.recipes.settings import BUILT_IN
from zoo_core.registry import kinds
from zoo_core.registry.components import bind_components
from zoo_core.registry.contents import PluginContents
from zoo_core.registry.discovery import collect, find_plugins
from zoo_core.registry.distributions import installed
from zoo_core.registry.imported_weights import ImportedWeights, with_imported
from zoo_core.registry.model_index import ModelIndex
from zoo_core.registry.name_claims import OUR_DISTRIBUTIONS, settle_names
from zoo_core.registry.pydantic_errors import to_usage_error
from zoo_core.registry.recorded_plan import with_recorded_split, with_recorded_weights
from zoo_core.registry.registry_file import (
    RegistryFile,
    override,
    packaged_registry,
    read_registry,
)
from zoo_core.registry.trainer_limits import refuse_other_task, refuse_own_validation, refuse_unsupported

ALWAYS_COMPARABLE = {"summary", "seed", "precision", "reference"}  # fields that published metrics do not depend on
T = TypeVar("T")


@dataclass(frozen=True)
class Registry:
    """A snapshot of all installed cards and recipes, by name, and the problems found while loading them."""

    tables: Mapping[str, Mapping[str, Any]]  # cards and recipes by name, by the plural of their kind
    references: Mapping[str, ModelReference]  # documented and derived counts, by model
    plugins: tuple[PluginContents, ...]
    problems: tuple[Problem, ...]
    imported_weights: Mapping[str, tuple[WeightsCard, ...]] = field(default_factory=dict)  # by model

    @property
    def models(self) -> ModelIndex:
        """All models, including those of catalogues."""
        return cast(ModelIndex, self.tables["models"])

    @property
    def datasets(self) -> Mapping[str, DatasetCard]:
        """All datasets."""
        return self.tables["datasets"]

    @property
    def trainers(self) -> Mapping[str, TrainerCard]:
        """All trainers."""
        return self.tables["trainers"]

    @property
    def components(self) -> Mapping[str, Component]:
        """The augmentations, optimizers, losses and metrics of plugins."""
        return self.tables["components"]

    @property
    def recipes(self) -> Mapping[str, Recipe]:
        """All recipes, of plugins and of registry files."""
        return self.tables["recipes"]

    def names(self, plurals: Iterable[str] = ()) -> set[str]:
        """Return every name of these kinds; without any, of all kinds."""
        return {name for plural in plurals or self.tables for name in self.tables[plural]}

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

        With `data`, a folder or CSV file of images takes the dataset's place, and its classes become the model's. The
        published metrics are dropped with `data`, and when any field that training depends on is overridden: they are
        only comparable with the recipe they were published for. Another seed or precision is still the same recipe.

        Raises:
            UnknownName: there is no such recipe, model, dataset, edition, trainer or key.
            UsageError: the values do not fit, or the trainer cannot learn the dataset's task.
            DataError: `data` is neither a folder nor a CSV file, or cannot be listed.
        """
        original = _look_up("recipe", self.recipes, name)
        recipe = override(original, overrides or {})
        if data is None and recipe.split != original.split:
            why = f"{recipe.dataset} has its own splits; only your own images are split"
            raise UsageError("a split needs your own images", why=why, fix=f"zoo run {name} --data FOLDER")
        trained_by, published_for = (each.model_dump(exclude=ALWAYS_COMPARABLE) for each in (recipe, original))
        if trained_by != published_for:
            recipe = recipe.model_copy(update={"reference": None})
        if data is not None:
            data, recipe = data.absolute(), recipe.model_copy(update={"reference": None, "edition": None})
        plan = self._planned(recipe, device, data)
        refuse_unsupported(plan.trainer, plan.model, recipe, changed_from=original)
        return plan

    def plan_again(self, plan: Plan) -> Plan:
        """Return the same plan with the installed cards: a plan may come from anyone, and cannot name code.

        Raises:
            IntegrityError: the installed cards differ from the plan's; the differences are listed.
        """
        again = self._planned(plan.recipe, plan.device, plan.data)
        again = with_recorded_weights(again, plan, self.imported_weights)
        if len(again.weights) == len(plan.weights) and all(
            map(WeightsCard.matches_pinned, again.weights, plan.weights)
        ):
            again = again.model_copy(update={"weights": plan.weights})  # the bytes that the run began with
        again = with_recorded_split(again, plan)
        then, now = plan.identity, again.identity
        now["settings"] = {
            key: now["settings"][key] for key in now["settings"] if key in then["settings"]
        }  # or it is new
        other = [name for name in then if now[name] != then[name]]
        if other:
            raise IntegrityError(
                f"this plan was made with a different {', '.join(other)}",
                why="a package or the folder of images has changed; environment.json lists the original versions",
            )
        return again

    def _planned(self, recipe: Recipe, device: str, data: Path | None) -> Plan:
        """Look up everything that a recipe names."""
        card = _look_up("model", self.models, recipe.model)
        model = card.variant(recipe.model_options)  # a plan names its weights; other imported weights do not matter
        dataset = _look_up("dataset", self.datasets, recipe.dataset) if data is None else _scanned(data)
        trainer = _look_up("trainer", self.trainers, recipe.trainer)
        recipe, components = bind_components(recipe, self.components)
        refuse_other_task(dataset, trainer, components, recipe)
        refuse_own_validation(dataset, recipe)
        return Plan(
            recipe=recipe,
            model=model,
            dataset=dataset,
            edition=dataset.edition(recipe.edition),
            trainer=trainer,
            settings=_settings(recipe, trainer),
            weights=_starting_weights(
                recipe, with_imported(card, self.imported_weights).variant(recipe.model_options), dataset
            ),
            classes=dataset.classes,
            components=components,
            device=device,
            data=data,
        )


def load_registry(files: Iterable[Path] = (), manager: pluggy.PluginManager | None = None) -> Registry:
    """Load the packaged registry, what plugins provide, and then `files`; a duplicate name is a Problem.

    Args:
        files: the user's registry files.
        manager: the plugins to ask; None: all that are installed.

    Raises:
        UsageError: a file is not a valid registry; every error in it is listed.
    """
    manager, problems = find_plugins() if manager is None else (manager, ())
    offers, broken = collect(manager)
    imported, unreadable = ImportedWeights.default().load()
    return replace(registry_of(offers, files, [*problems, *broken, *unreadable]), imported_weights=imported)


def registry_of(
    offers: Iterable[PluginContents], files: Iterable[Path] = (), problems: Iterable[Problem] = ()
) -> Registry:
    """Load the packaged file, then the offers, then the files; raises UsageError."""
    return _Loader(list(problems)).load(offers, [packaged_registry(), *files])


def matching(names: Iterable[str], pattern: str | None) -> list[str]:
    """Return the names that a glob matches, sorted; a pattern without wildcards matches anywhere in a name.

    A catalogue's models also match without its name: "resnet18*" matches "timm/resnet18.a1_in1k".
    """
    if pattern is None:
        return sorted(names)
    glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return sorted(n for n in names if fnmatchcase(n, glob) or fnmatchcase(n.rpartition("/")[2], glob))


def list_models(pattern: str | None = None, *, registry: Registry | None = None) -> list[str]:
    """Return the names of the models that a glob such as "*cnn*" matches, as `zoo list` does; None: all of them."""
    return matching((registry or load_registry()).models, pattern)


class _Loader:
    """Fills the registry, and notes who was first with each name."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.owners: dict[tuple[str, str], str] = {}
        self.tables: dict[str, dict[str, Any]] = {kind.plural: {} for kind in kinds.KINDS}
        self.references: dict[str, ModelReference] = {}
        self.plugins: list[PluginContents] = []

    def load(self, contents: Iterable[PluginContents], files: Iterable[Path]) -> Registry:
        packaged, *others = ((path, read_registry(path)) for path in files)
        self._add_file(*packaged)  # the packaged names are reserved
        self.owners |= {("components", name): "zoo-core" for names in BUILT_IN.values() for name in names}
        self.plugins, conflicts = settle_names(contents, self.owners)
        self.problems += conflicts
        for plugin in self.plugins:
            self.owners |= dict.fromkeys(plugin.claimed_names, plugin.plugin)
            for plural, name, value in plugin.entries:
                self.tables[plural][name] = value
        for path, content in others:
            self._add_file(path, content)
        tables: dict[str, Mapping[str, Any]] = {
            plural: MappingProxyType(table) for plural, table in self.tables.items()
        }
        tables["models"] = ModelIndex(tables["models"], tables["catalogues"])
        return Registry(
            MappingProxyType(tables), MappingProxyType(self.references), tuple(self.plugins), tuple(self.problems)
        )

    def _add_file(self, path: Path, content: RegistryFile) -> None:
        entries: list[tuple[str, str, Any]] = [("recipes", name, recipe) for name, recipe in content.recipes.items()]
        entries += [("references", name, figures) for name, figures in content.models.items()]
        for kind, name, value in entries:
            if (kind, name) in self.owners:
                self.problems.append(self._taken(kind, name, path))
            else:
                self.owners[kind, name] = str(path)
                (self.references if kind == "references" else self.tables[kind])[name] = value

    def _taken(self, plural: str, name: str, path: Path) -> Problem:
        cause = (
            f"it defines the {plural.removesuffix('s')} {name!r}, but that name belongs to {self.owners[plural, name]}"
        )
        return Problem(str(path), cause, f"rename {name!r} in {path}")


def _scanned(source: Path) -> DatasetCard:
    from zoo_core.images.folder import scan  # imported here because few commands list images

    return scan(source).dataset


def _look_up(kind: str, table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise UnknownName(kind, name, table, fix=_how_to_get(name))
    return table[name]


def _how_to_get(name: str) -> str:
    """Return the command that may help with an unknown name; only distributions of this project are suggested."""
    distribution = f"zoo-{name.partition('/')[0]}"  # models named "timm/…" come with zoo-timm
    if distribution in OUR_DISTRIBUTIONS and distribution not in {plugin.name for plugin in installed()}:
        return f"pip install {distribution}"
    return "zoo list"


def _starting_weights(recipe: Recipe, model: ModelCard, dataset: DatasetCard) -> tuple[WeightsCard, ...]:
    """Choose the weights to start from; a trained head is never reused for other classes."""
    selection = model.select(recipe.weights, recipe.head)
    if selection.has_head and selection.classes is not None and selection.classes != dataset.classes:
        raise UsageError(
            f"the head of weights {selection.name!r} of {model.name} predicts other classes than the data has",
            why=f"weights: {shorten(', '.join(selection.classes), 200)}; data: {', '.join(dataset.classes)}",
            fix=f"zoo run {recipe.name} --weights {selection.name} --head fresh",
        )
    return selection.cards


def _settings(recipe: Recipe, trainer: TrainerCard) -> dict[str, Any]:
    model = resolve(trainer.settings)
    try:
        settings: dict[str, Any] = model.model_validate(dict(recipe.settings)).model_dump(mode="json")
    except ValidationError as error:
        where = f"recipe {recipe.name!r} (trainer {trainer.name!r})"
        raise to_usage_error(error, where, model, prefix="settings.", fix=f"zoo show {trainer.name}") from error
    return settings
