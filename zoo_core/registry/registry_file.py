"""Registry files: recipes and reference values, written by hand."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from zoo_core.cards.fields import FrozenModel, Name
from zoo_core.errors import UsageError
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.reference import ModelReference
from zoo_core.registry.pydantic_errors import to_usage_error

INSTEAD = {"split.folds": "fraction", "split.fraction": "folds"}  # what else a recipe says about its split
MAX_BYTES, MAX_DOTS = 1_000_000, 5_000  # of a registry file, and in one of its lines


class RegistryFile(FrozenModel):
    """The content of a registry file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(alias="schema")
    recipes: Mapping[Name, Recipe] = {}
    models: Mapping[Name, ModelReference] = {}

    @field_validator("recipes", mode="before")
    @classmethod
    def _a_recipe_is_named_by_its_key(cls, recipes: Any) -> Any:  # noqa: ANN401 - not validated yet
        if not isinstance(recipes, dict):
            return recipes
        return {key: {"name": key, **table} if isinstance(table, dict) else table for key, table in recipes.items()}


def packaged_registry() -> Path:
    """Return the registry that comes with zoo: inside the package, or next to it in a source tree."""
    package = Path(__file__).parents[1]
    inside = package / "registry.toml"
    return inside if inside.is_file() else package.parent / "registry.toml"


def read_registry(path: Path) -> RegistryFile:
    """Read one registry file.

    Raises:
        UsageError: it cannot be read or is not valid; every error is listed.
    """
    try:
        return RegistryFile.model_validate(tomllib.loads(_text_of(path)))
    except ValidationError as error:
        raise to_usage_error(error, str(path), RegistryFile, fix=f"$EDITOR {quote(str(path))}") from error
    except (OSError, ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a number with thousands of digits
        raise UsageError(f"{path} cannot be read", why=str(error), fix=f"$EDITOR {quote(str(path))}") from error


def _text_of(path: Path) -> str:
    """Return a registry file's text; the parser's time grows with the square of a key's parts."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is too large for a registry", why=f"at most {MAX_BYTES:,} bytes are read")
    if any(line.count(b".") > MAX_DOTS for line in content.splitlines()):
        raise UsageError(f"{path} is not a registry", why=f"one of its lines has more than {MAX_DOTS:,} dots")
    return content.decode("utf-8-sig")


def override(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Return the recipe with fields replaced, named by dotted keys.

    The folds of a split take the place of the recipe's own fraction, and a fraction that of its folds.

    Raises:
        UsageError: a key or value is invalid; all are listed.
    """
    fields = recipe.model_dump(exclude_unset=True)  # unset fields stay unset: another optimizer has other defaults
    fields["optimizer"] = {"name": recipe.optimizer.name, **fields.get("optimizer", {})}
    fields["loss"] = {"name": recipe.loss.name, **fields.get("loss", {})}
    for key in INSTEAD.keys() & overrides.keys():
        fields["split"] = {name: value for name, value in fields.get("split", {}).items() if name != INSTEAD[key]}
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
        raise to_usage_error(error, f"recipe {recipe.name!r}", Recipe, fix=f"zoo show {recipe.name}") from error
