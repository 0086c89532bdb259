"""`zoo explain`: what a network computes for an image."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint
from zoo_core.cli.options import DeviceOption, WeightsOption, all_names, registry


def explain(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A model, or the path of a run.", autocompletion=all_names)],
    image: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .html page or .png picture to write.")] = Path(
        "explain.html"
    ),
    weights: WeightsOption = "pretrained",
    device: DeviceOption = "auto",
) -> None:
    """Show a model's filters, feature maps and layer sizes for an image."""
    known = registry(context)
    from zoo_core.api.inspection import explain as write_explanation  # torch is imported here, not before

    written = write_explanation(target, image, out, weights=weights, device=device, progress=True, registry=known)
    print(written)
    eprint(f"Try: open {shlex.quote(str(written))}")
