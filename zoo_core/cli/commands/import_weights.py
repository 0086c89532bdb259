"""`zoo import-weights`: weights that somebody has published as a .pth, for a model that is here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from zoo_core.cards import ImageInput, Name
from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json, all_names, registry
from zoo_core.errors import UsageError
from zoo_core.registry.imported_weights import ImportedWeights
from zoo_core.registry.pydantic_errors import to_usage_error


def import_weights(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .pth, .pt, .bin or .safetensors file.")],
    model: Annotated[str, typer.Option(help="The model that they are for.", autocompletion=all_names)],
    name: Annotated[str | None, typer.Option(help="What to call them; the file's name if it can be one.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels, of the square that they were trained on.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of each channel, as 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Of each channel, as 0.229,0.224,0.225.")] = None,
    license: Annotated[str, typer.Option(help="Of the weights.")] = "unknown",
    json: Json = False,
) -> None:
    """Import weights from a file of PyTorch's, for a model that is here.

    The file is read in a process of its own that can make nothing but tensors of it. What is kept is safetensors, with
    its sha256, under a name of yours: zoo run RECIPE --weights NAME starts from it. Preprocessing belongs to weights:
    without --size, --mean and --std, the model's is taken.
    """
    card = registry(context).model(model)
    called = _name(name or file.stem.lower())
    given = {"size": size, "mean": _numbers(mean), "std": _numbers(std)}
    changed = {key: value for key, value in given.items() if value is not None}
    look = _input(card.input, changed) if changed else None
    from zoo_core.engine.models.import_weights import (
        import_weights as imported,  # torch starts here, and nowhere sooner
    )

    done = imported(card, file, called, ImportedWeights.default(), input=look, license=license)
    told = {"name": done.name, "model": model, "covers": done.covers, "sha256": done.sha256, "path": str(done.path)}
    if json:
        print_json({**told, "left_out": list(done.left_out), "input": done.input.model_dump()})
        return
    shown = f"{done.input.size} pixels, mean {done.input.mean}, std {done.input.std}"
    rows = [*told.items(), ("left out", "; ".join(done.left_out) or "nothing"), ("preprocessing", shown)]
    print_table(("weights", ""), rows)
    eprint(f"\nTry: zoo run RECIPE --set model={model} --weights {done.name}, or zoo show {model}")


def _name(name: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        why = "a name is of small letters, digits, dots, dashes and underscores"
        raise UsageError(f"weights cannot be called {name!r}", why=why, fix="--name NAME") from error


def _numbers(text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} is no list of numbers", fix="--mean 0.485,0.456,0.406") from error


def _input(look: ImageInput, changed: Mapping[str, object]) -> ImageInput:
    try:
        return ImageInput.model_validate({**look.model_dump(), **changed})
    except ValidationError as error:
        raise to_usage_error(error, "the preprocessing", ImageInput) from error
