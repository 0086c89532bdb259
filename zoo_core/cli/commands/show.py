"""`zoo show`: a card or a recipe with its settings, and a model's layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Annotated, Any

import typer

from zoo_core.cards.components import Component, ComponentKind
from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.fields import FrozenModel, resolve
from zoo_core.cards.files import File
from zoo_core.cards.models import ModelCard
from zoo_core.cards.trainers import TrainerCard
from zoo_core.cli.console import human_bytes, out, percent, print_json, print_table
from zoo_core.cli.options import Json, all_names, registry
from zoo_core.errors import UnknownName
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.reference import ModelReference
from zoo_core.recipes.settings import Augmentation, Loss, Optimizer, SplitSettings
from zoo_core.registry import kinds
from zoo_core.registry.components import settings_model
from zoo_core.registry.field_docs import FieldDoc, describe_fields, describe_union
from zoo_core.registry.registry import Registry

COMPONENT_KEYS: Mapping[ComponentKind, str] = MappingProxyType(  # where a recipe has a component's settings
    {"augmentation": "augment[].", "optimizer": "optimizer.", "loss": "loss.", "metric": "metrics[]."}
)


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a model, dataset, trainer or recipe.", autocompletion=all_names)],
    layers: Annotated[bool, typer.Option("--layers", help="Show a model's layers and parameter counts.")] = False,
    json: Json = False,
) -> None:
    """Show a model, a dataset, or the settings of a trainer or a recipe."""
    known = registry(context)
    if layers:
        print_layers(known.model(name), known.references.get(name, ModelReference()), json=json)
    elif json:
        print_json({kind: _as_json(value) for kind, value in _named(known, name)})
    else:
        _print(known, name)


def _named(known: Registry, name: str) -> list[tuple[str, FrozenModel]]:
    matches = [kind for kind in kinds.KINDS if name in known.tables[kind.plural]]
    if not matches:
        raise UnknownName("model, dataset, trainer, component or recipe", name, known.names())
    return [
        (kind.name, known.model(name) if kind.plural == "models" else known.tables[kind.plural][name])
        for kind in matches
    ]


def _as_json(value: FrozenModel) -> dict[str, Any]:
    """Return a card, with the settings of a trainer and the fields of a recipe next to their values."""
    fields = [asdict(field) for field in _fields(value)]
    key = "settings_fields" if isinstance(value, TrainerCard | Component) else "fields"
    return value.model_dump(mode="json") | ({key: fields} if fields else {})


def _fields(value: FrozenModel) -> list[FieldDoc]:
    """Return what can be set: the settings of a trainer or component, the fields of a recipe."""
    if isinstance(value, TrainerCard):
        return describe_fields(resolve(value.settings), "settings.")
    if isinstance(value, Component):
        return describe_fields(settings_model(value), COMPONENT_KEYS[value.kind])
    if not isinstance(value, Recipe):
        return []
    fields = [field for field in describe_fields(Recipe) if field.key not in ("name", "summary", "split", "reference")]
    fields += describe_fields(SplitSettings, "split.")
    unions = ((Optimizer, "optimizer."), (Loss, "loss."), (Augmentation, "augment[]."))
    return [*fields, *(field for union, prefix in unions for field in describe_union(union, prefix))]


def _print_fields(value: FrozenModel) -> None:
    rows = [(f.key, f.type, "required" if f.default is None else f.default, f.meaning) for f in _fields(value)]
    if rows:
        print_table(("--set", "values", "default", "meaning"), rows)


def _print(known: Registry, name: str) -> None:
    for kind, value in _named(known, name):
        rows = [(key, _text(field)) for key, field in value if _text(field)]
        print_table((kind, ""), rows)
        if isinstance(value, ModelCard):
            _print_weights(value)
        if isinstance(value, DatasetCard):
            _print_editions(value)
        _print_fields(value)
        out().print()


def _text(field: object) -> str:
    """Format a field; weights and editions are skipped, because they are printed as tables."""
    if isinstance(field, tuple) and field and isinstance(field[0], FrozenModel):
        return "; ".join(_text(card) for card in field if not hasattr(card, "file") and not hasattr(card, "files"))
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
            human_bytes(w.file.size) if isinstance(w.file, File) else "on the Hub",
            w.license,
            ", ".join(f"{percent(r.accuracy)} on {r.dataset}.{r.edition or ''}".rstrip(".") for r in w.reported),
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


def print_layers(card: ModelCard, reference: ModelReference, *, json: bool) -> None:
    """Print every layer with its output shape, its number of parameters, and how they are counted."""
    from zoo_core.engine.models.summary import layers_of  # imports torch

    model = layers_of(card)
    if json:
        return print_json(asdict(model))
    rows = [
        (
            layer.path,
            layer.kind,
            " × ".join(map(str, layer.shape)),
            f"{layer.parameters:,}",
            "" if not layer.parameters else "yes" if layer.trainable else "no",
            layer.arithmetic,
        )
        for layer in model.layers
        if layer.parameters or layer.kind != "Identity"  # a placeholder for what a module does not use
    ]
    headers = ("layer", "type", "output", "parameters", "trainable", "arithmetic")
    print_table(headers, rows, right=["parameters"])
    sizes = ", ".join(f"{what.replace('_', ' and ')} {size:.2f}" for what, size in model.megabytes.items())
    out().print(f"\n{model.parameters:,} parameters. MB for one image: {sizes}", soft_wrap=True)
    for path, erratum in reference.errata.items():
        out().print(f"\nErratum in the notebook, {path}: {erratum}", markup=False)
    return None
