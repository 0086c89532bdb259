"""`zoo export`: a run's weights as one file to publish, with what a card has to say of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo_core.cli.console import print_json, print_table
from zoo_core.cli.options import Json


def export(
    run: Annotated[Path, typer.Argument(help="The path of a run.")],
    target: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    dtype: Annotated[Literal["float32", "float16", "bfloat16"], typer.Option(help="To round to.")] = "float32",
    json: Json = False,
) -> None:
    """Write a run's weights as a safetensors file."""
    from zoo_core.engine.models import export as exporting  # torch starts here, and nowhere sooner

    written = asdict(exporting.export(run, target, dtype=dtype))
    print_json({**written, "path": str(target)}) if json else print_table(
        ("weights", ""), [(key, str(value)) for key, value in written.items()]
    )
