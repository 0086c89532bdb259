"""`zoo export`: a run's weights as one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo_core.cli.console import print_json, print_table
from zoo_core.cli.options import Json


def export(
    run: Annotated[Path, typer.Argument(help="The path of a run.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"], typer.Option(help="Round to this type.", metavar="TYPE")
    ] = "float32",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Export a run's weights as a safetensors file."""
    from zoo_core.api.inference import export as write_export  # torch is imported here, not before

    fields = {**asdict(write_export(run, target, dtype=dtype, force=force)), "path": str(target)}
    print_json(fields) if json else print_table(
        ("weights", ""), [(key, "-" if value is None else str(value)) for key, value in fields.items()]
    )
