"""`zoo list`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_core.cards import ModelCard
from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json, registry
from zoo_core.registry.registry import Registry, matching


def list_(
    context: typer.Context,
    pattern: Annotated[str | None, typer.Argument(help="A glob such as '*cnn*'.")] = None,
    json: Json = False,
) -> None:
    """List recipes, models, datasets and trainers; a catalogue's models are listed where a pattern asks for them."""
    listed = registry(context)
    print_json(_as_json(listed, pattern)) if json else _print(listed, pattern)


def _as_json(listed: Registry, pattern: str | None) -> dict[str, list[dict[str, object]]]:
    kinds = {
        "recipes": (listed.recipes, ("name", "summary", "model", "dataset", "trainer")),
        "models": (listed.models, ("name", "summary", "parameters", "num_classes", "license")),
        "datasets": (listed.datasets, ("name", "summary", "license", "attribution")),
        "trainers": (listed.trainers, ("name", "summary")),
    }
    return {
        kind: [{key: getattr(table[name], key) for key in keys} for name in matching(table, pattern)]
        for kind, (table, keys) in kinds.items()
    }


def _print(listed: Registry, pattern: str | None) -> None:
    rows = [("recipe", r.name, f"{r.model} on {r.dataset}", r.summary) for r in listed.recipes.values()]
    rows += [("model", m.name, f"{m.parameters:,} parameters", m.summary) for m in _models(listed, pattern)]
    rows += [
        ("catalogue", c.name, f"{len(c.models):,} models", f"{c.summary}: zoo list '{c.name}/*'")
        for c in listed.models.catalogues.values()
    ]
    rows += [("dataset", d.name, ", ".join(e.name for e in d.editions), d.summary) for d in listed.datasets.values()]
    rows += [("trainer", t.name, "", t.summary) for t in listed.trainers.values()]
    names = set(matching({name for _, name, _, _ in rows}, pattern))
    found = [row for row in rows if row[1] in names]
    if not found:
        eprint(f"Nothing is named like {pattern!r}.\nTry: zoo list")
        raise typer.Exit(2)
    print_table(("kind", "name", "what", "summary"), found)


def _models(listed: Registry, pattern: str | None) -> list[ModelCard]:
    """Return those whose names match; without a pattern, those that have a card of their own."""
    if pattern is None:
        return list(listed.models.single.values())
    names = set(matching(listed.models, pattern))
    return [listed.models[name] for name in listed.models if name in names]
