"""`zoo show`: one thing's card or recipe, and a model's layers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from zoo_core.cards import DatasetCard, File, FrozenModel, ModelCard
from zoo_core.cli.console import human_bytes, out, percent, print_json, print_table
from zoo_core.cli.options import Json, all_names, registry
from zoo_core.errors import UnknownName
from zoo_core.recipes import ModelReference
from zoo_core.registry import kinds
from zoo_core.registry.registry import Registry


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model, dataset, trainer or recipe.", autocompletion=all_names)],
    layers: Annotated[bool, typer.Option("--layers", help="Show a model's layers and their arithmetic.")] = False,
    json: Json = False,
) -> None:
    """Show a card or a recipe."""
    known = registry(context)
    if layers:
        print_layers(known.model(name), known.references.get(name, ModelReference()), json=json)
    elif json:
        print_json({kind: value.model_dump(mode="json") for kind, value in _named(known, name)})
    else:
        _print(known, name)


def _named(known: Registry, name: str) -> list[tuple[str, FrozenModel]]:
    matches = [kind for kind in kinds.KINDS if name in known.tables[kind.plural]]
    if not matches:
        raise UnknownName("model, dataset, trainer or recipe", name, known.names())
    return [
        (kind.name, known.model(name) if kind.plural == "models" else known.tables[kind.plural][name])
        for kind in matches
    ]


def _print(known: Registry, name: str) -> None:
    for kind, value in _named(known, name):
        rows = [(key, _text(field)) for key, field in value if _text(field)]
        print_table((kind, ""), rows)
        if isinstance(value, ModelCard):
            _print_weights(value)
        if isinstance(value, DatasetCard):
            _print_editions(value)
        out().print()


def _text(field: object) -> str:
    """Return a field as people read it; what has a table of its own is passed over."""
    if isinstance(field, tuple) and field and isinstance(field[0], FrozenModel):
        return "; ".join(_text(one) for one in field if not hasattr(one, "file") and not hasattr(one, "files"))
    if isinstance(field, FrozenModel):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in field if _text(inner))
    if isinstance(field, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in field.items())
    if isinstance(field, frozenset):
        return f"{len(field):,}"
    if isinstance(field, tuple):
        return ", ".join(map(_text, field))
    return f"{field:,}" if isinstance(field, int) and not isinstance(field, bool) else str(field or "")


def _print_weights(card: ModelCard) -> None:
    rows = [
        (
            w.name,
            w.covers,
            human_bytes(w.file.size) if isinstance(w.file, File) else "on the hub",
            w.license,
            ", ".join(percent(probe.accuracy) for probe in w.reported),
            w.provenance,
        )
        for w in card.weights
    ]
    if rows:
        print_table(("weights", "covers", "size", "license", "accuracy", "provenance"), rows)


def _print_editions(card: DatasetCard) -> None:
    rows = [
        (
            edition.name,
            ", ".join(f"{count:,} {split}" for split, count in edition.examples.items()),
            human_bytes(sum(file.size for file in edition.files.values())),
            edition.summary,
        )
        for edition in card.editions
    ]
    print_table(("edition", "images", "size", "summary"), rows)


def print_layers(card: ModelCard, figures: ModelReference, *, json: bool) -> None:
    """Print every layer with its output shape, its parameters, and how they are counted."""
    from zoo_core.engine.models.summary import layers_of  # torch starts here, and nowhere sooner

    model = layers_of(card)
    if json:
        return print_json(asdict(model))
    rows = [
        (one.path, one.kind, " × ".join(map(str, one.shape)), f"{one.parameters:,}", one.arithmetic)
        for one in model.layers
    ]
    print_table(("layer", "type", "output", "parameters", "arithmetic"), rows, right=["parameters"])
    sizes = ", ".join(f"{what.replace('_', ' and ')} {size:.2f}" for what, size in model.megabytes.items())
    out().print(f"\n{model.parameters:,} parameters. MB for one image: {sizes}", soft_wrap=True)
    for path, slip in figures.errata.items():
        out().print(f"\nThe source on {path}: {slip}", markup=False)
    return None
