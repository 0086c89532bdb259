"""`zoo bench`: a model in PyTorch and its exported files, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import print_json
from zoo_core.cli.options import Json, WeightsOption, all_names, registry
from zoo_core.cli.parity_table import print_parity


def bench(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="The path of a run, or a model.", autocompletion=all_names)],
    files: Annotated[list[Path] | None, typer.Argument(help="What was exported from it.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder or CSV file of images to measure on.")] = None,
    weights: WeightsOption = "pretrained",
    json: Json = False,
) -> None:
    """Measure a run or a model and its exported files: accuracy, changed answers, milliseconds, size."""
    known = registry(context)
    from zoo_core.api.exporting import bench as measure  # torch is imported here, not before

    parity = measure(target, files or (), data=data, weights=weights, progress=True, registry=known)
    print_json(parity.model_dump()) if json else print_parity(parity)
