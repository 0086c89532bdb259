"""`zoo import-weights`: a published checkpoint, for an installed model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from zoo_core.cards.fields import Name
from zoo_core.cards.models import ImageInput
from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json, all_names, registry
from zoo_core.errors import UsageError
from zoo_core.registry.imported_weights import ImportedWeights
from zoo_core.registry.pydantic_errors import to_usage_error


def import_weights(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .pth, .pt, .bin or .safetensors file.")],
    model: Annotated[str, typer.Option(help="The model that the weights belong to.", autocompletion=all_names)],
    name: Annotated[str | None, typer.Option(help="A name for the weights. [default: from the file's name]")] = None,
    size: Annotated[int | None, typer.Option(help="Image size in pixels that they were trained with.")] = None,
    mean: Annotated[str | None, typer.Option(help="Mean of each channel: 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation of each channel: 0.229,0.224,0.225.")] = None,
    license: Annotated[str, typer.Option(help="License of the weights.")] = "unknown",
    json: Json = False,
) -> None:
    """Import a PyTorch checkpoint for an installed model.

    The file is read in a sandboxed process that can only produce tensors, and saved as safetensors with its SHA-256. A
    run starts from it with `zoo run RECIPE --weights NAME`. Without --size, --mean and --std, the preprocessing is the
    model's, or that of the run that `zoo export` wrote.
    """
    card = registry(context).model(model)
    chosen = _name(name or file.stem.lower())
    given = {"size": size, "mean": _numbers("--mean", mean), "std": _numbers("--std", std)}
    changed = {key: value for key, value in given.items() if value is not None}
    spec = _input(card.input, changed) if changed else None
    from zoo_core.engine.models.import_weights import import_weights as convert  # torch is imported here, not before

    result = convert(card, file, chosen, ImportedWeights.default(), input=spec, license=license)
    fields = {
        "name": result.name,
        "model": model,
        "covers": result.covers,
        "sha256": result.sha256,
        "path": str(result.path),
    }
    if json:
        print_json({**fields, "left_out": list(result.left_out), "input": result.input.model_dump()})
        return
    preprocessing = f"{result.input.size} pixels, mean {result.input.mean}, std {result.input.std}"
    left_out = "; ".join(result.left_out) or "nothing"
    print_table(("weights", ""), [*fields.items(), ("left out", left_out), ("preprocessing", preprocessing)])
    use = f"zoo run RECIPE --set model={model} --weights {result.name}"
    eprint(f"\nTry: {use if result.covers == 'backbone' else f'zoo predict {model} IMAGE --weights {result.name}'}")


def _name(name: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        why = "a name consists of lowercase letters, digits, dots, dashes and underscores"
        raise UsageError(
            f"weights cannot be named {name!r}", why=why, fix="zoo import-weights FILE --model MODEL --name NAME"
        ) from error


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not a list of numbers", why="such as 0.485,0.456,0.406") from error


def _input(spec: ImageInput, changed: Mapping[str, object]) -> ImageInput:
    try:
        return ImageInput.model_validate({**spec.model_dump(), **changed})
    except ValidationError as error:
        raise to_usage_error(error, "the preprocessing", ImageInput) from error
