"""Turns pydantic's validation errors into one message that lists every fault with a key that the user can type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from zoo_core.cards.fields import FrozenModel
from zoo_core.errors import UsageError, did_you_mean, printable
from zoo_core.recipes.component_choice import PLUGIN
from zoo_core.registry.field_docs import models_in

MAX_FAULTS = 100  # faults that are listed
MAX_KEY_LENGTH = 500  # characters of a key's path


def to_usage_error(
    error: ValidationError, where: str, model: type[BaseModel], *, prefix: str = "", fix: str = ""
) -> UsageError:
    """Return a UsageError that lists every fault of `where`, each with its dotted key and, if unknown, the closest one.

    Args:
        prefix: put before each key: "settings." for a trainer's settings, which are part of a recipe.
    """
    lines = faults_of(error, model, prefix)
    return UsageError(f"{where} is not valid", why="\n".join(f"  {line}" for line in lines), fix=fix)


def describe(error: ValidationError) -> str:
    """Return every fault in one line: "sumary: unknown key; did you mean 'summary'?, name: Field required"."""
    models = {model.__name__: model for model in _subclasses(FrozenModel)}
    return ", ".join(faults_of(error, models.get(error.title, FrozenModel), ""))


def faults_of(error: ValidationError, model: type[BaseModel], prefix: str) -> list[str]:
    """Return one line for each fault; its key starts with `prefix`."""
    faults = error.errors(include_url=False)[:MAX_FAULTS]
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")  # a misspelled key often explains a missing one
    lines = list(dict.fromkeys(_line(fault, model, prefix) for fault in faults))
    more = error.error_count() - MAX_FAULTS
    return [*lines, f"and {more:,} more"] if more > 0 else lines


def _line(fault: Any, model: type[BaseModel], prefix: str) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    keys, level = _walk(fault["loc"], model)
    path = printable((prefix + ".".join(keys))[:MAX_KEY_LENGTH]) or "(top level)"
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggestion(keys, level, model, prefix)}"
    given = "" if fault["type"] == "missing" else f" (given: {_shown(fault['input'])})"
    return f"{path}: {fault['msg'].removeprefix('Value error, ')}{given}"


def _walk(location: tuple[str | int, ...], model: type[BaseModel]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return the keys of a fault as a user writes them, and the models whose fields the last one could be.

    Pydantic also puts the chosen member of a union into the location: ("optimizer", "adam", "lr").
    """
    keys: list[str] = []
    annotation: Any = model
    level = [model]
    for part in location:
        level = list(models_in(annotation))
        chosen = [member for member in level if len(level) > 1 and part in _tags(member)]
        if chosen:
            annotation = chosen[0]
            continue
        keys.append(str(part))
        fields = [
            member.model_fields[part] for member in level if isinstance(part, str) and part in member.model_fields
        ]
        annotation = fields[0].annotation if fields else annotation
    return keys, level


def _suggestion(keys: list[str], level: list[type[BaseModel]], model: type[BaseModel], prefix: str) -> str:
    """Suggest a key: the closest one on the same level, else one with this name elsewhere, else all on this level."""
    start = prefix + "".join(f"{key}." for key in keys[:-1])
    here = sorted({name for member in level for name in member.model_fields})
    close = did_you_mean(keys[-1], here)
    if close:
        return close.replace("'", f"'{start}", 1)
    elsewhere = [key for key in _dotted_keys(model) if key.rpartition(".")[2] == keys[-1]]
    if elsewhere:
        return f"; did you mean {prefix + elsewhere[0]!r}?"
    return f"; the keys here are {', '.join(start + name for name in here)}" if here else ""


def _dotted_keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for inner in models_in(field.annotation):
            yield from (f"{name}.{key}" for key in _dotted_keys(inner))


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the values of `name` that choose this member of a union: ("adam",); PLUGIN where it can be any name."""
    return get_args(model.model_fields["name"].annotation) or (PLUGIN,) if "name" in model.model_fields else ()


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a number of thousands of digits"
