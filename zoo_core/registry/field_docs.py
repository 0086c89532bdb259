"""Describes the fields of a card, a recipe or a trainer's settings: type, default and meaning, from pydantic itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zoo_core.cards import fields

ALIASES: Mapping[str, str] = MappingProxyType(  # the pattern of a constrained string → its name
    {get_args(getattr(fields, name))[1].pattern: name for name in ("Name", "Reference", "Sha256", "Repository", "Uri")}
)
LIMITS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))


@dataclass(frozen=True)
class FieldDoc:
    """One field, as `zoo show` and the reference pages print it."""

    key: str  # dotted, as it is typed: "optimizer.lr"
    type: str  # "float > 0", "'constant' or 'cosine'"
    default: str | None  # None: required
    meaning: str


def describe_fields(model: type[BaseModel], prefix: str = "") -> list[FieldDoc]:
    """Return the fields of a pydantic model, in order; keys start with `prefix`."""
    return [_field_doc(prefix + (field.alias or name), field) for name, field in model.model_fields.items()]


def describe_union(annotation: Any, prefix: str) -> Iterator[FieldDoc]:  # noqa: ANN401 - any type annotation
    """Yield the fields of each member of a union of models, such as the optimizers; their names come first."""
    members = [member for member in models_in(annotation) if get_args(member.model_fields["name"].annotation)]
    names = [get_args(member.model_fields["name"].annotation)[0] for member in members]
    choices = f"{' or '.join(map(repr, names))} or a plugin's"
    yield FieldDoc(f"{prefix}name", choices, None, "; ".join(map(_first_line, members)))
    for name, member in zip(names, members, strict=True):
        for field in describe_fields(member, prefix):
            if field.key != f"{prefix}name":
                yield FieldDoc(field.key, field.type, field.default, f"{name}: {field.meaning}")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any type annotation
    """Yield the pydantic models in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _first_line(model: type[BaseModel]) -> str:
    name = get_args(model.model_fields["name"].annotation)[0]
    return f"{name}: {(model.__doc__ or '').strip().partition(chr(10))[0].rstrip('.')}"


def _field_doc(key: str, field: FieldInfo) -> FieldDoc:
    default = None if field.is_required() else _default_text(field)
    return FieldDoc(key, type_text(field.annotation, field.metadata), default, field.description or "")


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return f"{type(default).__name__}()"
    return repr(default)


def type_text(annotation: Any, metadata: list[Any]) -> str:  # noqa: ANN401 - any type annotation
    """Return a type with its limits, for people: "int ≥ 0", "'auto' or 'float32'", "list of Rotation"."""
    limits = [f"{sign} {getattr(entry, name)}" for entry in metadata for name, sign in LIMITS if hasattr(entry, name)]
    alias = next((ALIASES[entry.pattern] for entry in metadata if getattr(entry, "pattern", None) in ALIASES), None)
    return " ".join([alias or _bare_text(annotation), ", ".join(limits)]).strip()


def _bare_text(annotation: Any) -> str:  # noqa: ANN401 - any type annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        nested = [
            inner for entry in arguments[1:] for inner in (entry.metadata if isinstance(entry, FieldInfo) else [entry])
        ]
        return type_text(arguments[0], nested)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, UnionType):
        return " or ".join("None" if inner is type(None) else _bare_text(inner) for inner in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        inner = _bare_text(arguments[0])
        return f"list of ({inner})" if " or " in inner else f"list of {inner}"
    if origin is tuple:
        return f"[{', '.join(map(_bare_text, arguments))}]"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping from {_bare_text(arguments[0])} to {_bare_text(arguments[1])}"
    if origin is not None and issubclass(origin, frozenset):
        return f"set of {_bare_text(arguments[0])}"
    return "any value" if annotation is Any else getattr(annotation, "__name__", str(annotation))
