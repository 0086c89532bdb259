"""Turns pydantic's complaints about a recipe or a registry file into one message that lists them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from zoo_core.errors import UsageError, did_you_mean, printable

MOST = 100  # complaints that are listed
LONGEST = 500  # characters of a key's path


def to_usage_error(error: ValidationError, where: str, model: type[BaseModel], *, fix: str = "") -> UsageError:
    """Return a UsageError that names every bad key of `where` by its path, with the nearest key that would be right."""
    known = set(_keys(model))
    lines = list(dict.fromkeys(_line(complaint, known) for complaint in error.errors()[:MOST]))
    if error.error_count() > MOST:
        lines.append(f"and {error.error_count() - MOST:,} more")
    return UsageError(f"{where} is not valid", why="\n".join(f"  {line}" for line in lines), fix=fix)


def _line(complaint: Any, known: set[str]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    path = printable(".".join(map(str, complaint["loc"]))[:LONGEST]) or "(top level)"
    if complaint["type"] == "extra_forbidden":
        return f"{path}: no such key{_nearest(str(complaint['loc'][-1]), known)}"
    given = "" if complaint["type"] == "missing" else f" (given: {_shown(complaint['input'])})"
    return f"{path}: {complaint['msg'].removeprefix('Value error, ')}{given}"


def _nearest(key: str, known: set[str]) -> str:
    """Suggest the nearest key; one of this very name that belongs elsewhere by its path: 'optimizer.lr'."""
    if elsewhere := sorted(path for path in known if path.endswith(f".{key}")):
        return f"; did you mean {elsewhere[0]!r}?"
    return did_you_mean(key, {path.rpartition(".")[2] for path in known} - {key})


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def _keys(annotation: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401 - any type annotation
    """Yield every key by its dotted path: "epochs", "optimizer", "optimizer.lr"."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield f"{prefix}{name}"
            yield from _keys(field.annotation, f"{prefix}{name}.")
    named = get_origin(annotation) is Mapping  # by names that the user chooses: there is no path to suggest
    for inner in get_args(annotation):
        yield from _keys(inner, "" if named else prefix)


def first_error(error: ValidationError) -> str:
    """Return the first fault in one line: "models.0.name: Field required"."""
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
