"""All cards and recipes that there are, as one frozen value."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import pluggy
from pydantic import ConfigDict, Field, ValidationError, field_validator

from zoo_core.cards import DatasetCard, ModelCard, Name, TrainerCard, Value, WeightsCard, resolve
from zoo_core.errors import IntegrityError, Problem, UnknownName, UsageError
from zoo_core.folders import scan
from zoo_core.models import Models
from zoo_core.own import OwnWeights, with_own
from zoo_core.plans import Plan
from zoo_core.plugins import Offer, collect, find_plugins
from zoo_core.recipes import Figures, Recipe
from zoo_core.validation import explain

SUBJECT = ("model", "model_options", "dataset", "trainer")  # what documented figures are about
MAX_BYTES, MAX_DOTS = 1_000_000, 5_000  # of a registry file, and in one of its lines
T = TypeVar("T")


class RegistryFile(Value):
    """What a registry.toml holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(alias="schema")
    recipes: Mapping[Name, Recipe] = {}
    models: Mapping[Name, Figures] = {}

    @field_validator("recipes", mode="before")
    @classmethod
    def _a_recipe_is_named_by_its_key(cls, recipes: Any) -> Any:  # noqa: ANN401 - not validated yet
        if not isinstance(recipes, dict):
            return recipes
        return {key: {"name": key, **table} if isinstance(table, dict) else table for key, table in recipes.items()}


@dataclass(frozen=True)
class Registry:
    """A snapshot of what is installed and written down, by name; and the problems met while loading it."""

    models: Models
    datasets: Mapping[str, DatasetCard]
    trainers: Mapping[str, TrainerCard]
    recipes: Mapping[str, Recipe]
    figures: Mapping[str, Figures]  # documented and derived counts, by model
    plugins: tuple[Offer, ...]
    problems: tuple[Problem, ...]
    own: Mapping[str, tuple[WeightsCard, ...]] = field(default_factory=dict)  # weights that were imported, by model

    def model(self, name: str) -> ModelCard:
        """Return a model's card, with the weights that the user has imported for it, or raise UnknownName."""
        return with_own(_look_up("model", self.models, name), self.own)

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
            recipe = recipe.model_copy(update={"documented": None})
        if data is not None:
            data, recipe = data.absolute(), recipe.model_copy(update={"documented": None, "edition": None})
        return self._planned(recipe, device, data)

    def plan_again(self, plan: Plan) -> Plan:
        """Return the same plan with the cards that are installed: a plan may come from anyone, and names no code.

        Raises:
            IntegrityError: the installed cards are others than the plan's; what differs is named.
        """
        again = self._planned(plan.recipe, plan.device, plan.data)
        if len(again.weights) == len(plan.weights) and all(map(WeightsCard.was, again.weights, plan.weights)):
            again = again.model_copy(update={"weights": plan.weights})  # the bytes that the run began with
        other = [name for name in Plan.model_fields if getattr(again, name) != getattr(plan, name)]
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
            weights=_starting_weights(recipe, with_own(plain, self.own).variant(recipe.model_options), dataset),
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
    own, unreadable = OwnWeights.default().load()
    return replace(registry_of(offers, files, [*problems, *broken, *unreadable]), own=own)


def registry_of(offers: Iterable[Offer], files: Iterable[Path] = (), problems: Iterable[Problem] = ()) -> Registry:
    """Return the registry of the packaged file, of offers and of files, in this order; raises UsageError."""
    return _Loader(list(problems)).load(offers, [packaged_registry(), *files])


def packaged_registry() -> Path:
    """Return the registry that comes with zoo: inside the package, or beside it in a source tree."""
    package = Path(__file__).parent
    inside = package / "registry.toml"
    return inside if inside.is_file() else package.parent / "registry.toml"


def read_registry(path: Path) -> RegistryFile:
    """Read one registry file.

    Raises:
        UsageError: it cannot be read or is not valid; every fault is named.
    """
    try:
        return RegistryFile.model_validate(tomllib.loads(_text_of(path)))
    except ValidationError as error:
        raise explain(error, str(path), RegistryFile, fix=f"mend the keys named above in {path}") from error
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, no TOML, or a number of thousands of digits
        raise UsageError(f"{path} cannot be read", why=str(error), fix=f"mend {path}") from error


def _text_of(path: Path) -> str:
    """Return a registry file's text; the parser's time grows with the square of a key's parts."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is too large for a registry", why=f"at most {MAX_BYTES:,} bytes are read")
    if any(line.count(b".") > MAX_DOTS for line in content.splitlines()):
        raise UsageError(f"{path} is no registry", why=f"one of its lines has more than {MAX_DOTS:,} dots")
    return content.decode("utf-8-sig")


def override(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Return the recipe with fields replaced, named by dotted keys.

    Raises:
        UsageError: a key or value does not fit; all are named.
    """
    fields = recipe.model_dump(exclude_unset=True)  # what was not set is not: another optimizer has other defaults
    fields["optimizer"] = {"name": recipe.optimizer.name, **fields.get("optimizer", {})}
    for key, value in overrides.items():
        *path, last = key.split(".")
        table = fields
        for part in path:
            inner = table.get(part)
            table[part] = dict(inner) if isinstance(inner, dict) else {}
            table = table[part]
        table[last] = value
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise explain(error, f"recipe {recipe.name!r}", Recipe, fix=f"zoo show {recipe.name}") from error


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
            kind: {} for kind in ("models", "catalogues", "datasets", "trainers", "recipes", "figures")
        }
        self.offers: list[Offer] = []

    def load(self, offers: Iterable[Offer], files: Iterable[Path]) -> Registry:
        first, *others = ((path, read_registry(path)) for path in files)
        self._add_file(*first)  # the packaged names are reserved
        for offer in offers:
            self._add_offer(offer)
        for path, content in others:
            self._add_file(path, content)
        tables = {kind: MappingProxyType(table) for kind, table in self.tables.items()}
        models = Models(tables.pop("models"), tables.pop("catalogues"))
        return Registry(models=models, **tables, plugins=tuple(self.offers), problems=tuple(self.problems))

    def _add_offer(self, offer: Offer) -> None:
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
        entries: list[tuple[str, str, Value]] = [("recipes", name, recipe) for name, recipe in content.recipes.items()]
        entries += [("figures", name, figures) for name, figures in content.models.items()]
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
    if not picked or picked[-1].covers == "trunk" or recipe.weights == "pretrained":
        return picked
    theirs = model.classes_for(picked)
    if theirs is not None and theirs != dataset.classes:
        raise UsageError(
            f"weights {picked[-1].name!r} of {model.name} are for other classes",
            why=f"theirs: {shorten(', '.join(theirs), 200)}; the data's: {', '.join(dataset.classes)}",
            fix="--weights pretrained, which keeps the trunk below a fresh head",
        )
    return picked


def _settings(recipe: Recipe, trainer: TrainerCard) -> dict[str, Any]:
    model = resolve(trainer.settings)
    try:
        settings: dict[str, Any] = model.model_validate(dict(recipe.settings)).model_dump(mode="json")
    except ValidationError as error:
        where = f"settings of recipe {recipe.name!r} (trainer {trainer.name!r})"
        raise explain(error, where, model, fix=f"zoo show {trainer.name}") from error
    return settings
