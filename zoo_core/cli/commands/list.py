"""`zoo list`: everything that is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import typer

from zoo_core.cards.models import Catalogue
from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json, registry
from zoo_core.registry import kinds
from zoo_core.registry.kinds import Kind
from zoo_core.registry.registry import Registry, matching

FIRST = ("recipes",)  # most commands take a recipe
DETAILS: Mapping[str, Callable[[Any], str]] = MappingProxyType(  # a card's "what", by kind
    {
        "recipes": lambda recipe: f"{recipe.model} on {recipe.dataset}",
        "models": lambda model: f"{model.parameters:,} parameters",
        "catalogues": lambda catalogue: f"{len(catalogue.models):,} models",
        "components": lambda component: component.kind,
        "datasets": lambda dataset: ", ".join(edition.name for edition in dataset.editions),
    }
)
JSON_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # a card's fields in JSON, after name and summary
    {
        "recipes": ("model", "dataset", "trainer"),
        "models": ("parameters", "num_classes", "license"),
        "components": ("kind",),
        "datasets": ("license", "attribution"),
    }
)


def list_(
    context: typer.Context,
    pattern: Annotated[str | None, typer.Argument(help="A glob such as '*cnn*'.")] = None,
    json: Json = False,
) -> None:
    """List recipes, models, datasets, trainers and components; a catalogue's models only if PATTERN matches them."""
    listed = registry(context)
    print_json(_as_json(listed, pattern)) if json else _print(listed, pattern)


def _as_json(listed: Registry, pattern: str | None) -> dict[str, list[dict[str, object]]]:
    return {
        plural: [
            {key: getattr(listed.tables[plural][name], key) for key in ("name", "summary", *JSON_KEYS.get(plural, ()))}
            for name in matching(listed.tables[plural], pattern)
        ]
        for plural in (*FIRST, *(kind.plural for kind in kinds.KINDS if kind.plural not in (*FIRST, "catalogues")))
    }


def _print(listed: Registry, pattern: str | None) -> None:
    ordered = sorted(kinds.KINDS, key=lambda kind: kind.plural not in FIRST)
    rows = [_row(kind, card) for kind in ordered for card in _cards(listed, kind, pattern)]
    names = set(matching({name for _, name, _, _ in rows}, pattern))
    matches = [row for row in rows if row[1] in names]
    if not matches:
        eprint(f"No name matches {pattern!r}.\nTry: zoo list")
        raise typer.Exit(2)
    print_table(("kind", "name", "what", "summary"), matches)


def _row(kind: Kind, card: Any) -> tuple[str, str, str, str]:  # noqa: ANN401 - a card of this kind
    summary = f"{card.summary}: zoo list '{card.name}/*'" if isinstance(card, Catalogue) else card.summary
    return kind.name, card.name, DETAILS.get(kind.plural, lambda _: "")(card), summary


def _cards(listed: Registry, kind: Kind, pattern: str | None) -> list[Any]:
    """Return the cards of a kind whose names match; without a pattern, a catalogue's models are left out."""
    if kind.plural != "models":
        return list(listed.tables[kind.plural].values())
    if pattern is None:
        return list(listed.models.single.values())
    names = set(matching(listed.models, pattern))
    return [listed.models[name] for name in listed.models if name in names]
