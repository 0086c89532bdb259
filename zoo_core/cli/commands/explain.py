"""`zoo explain`: what the network sees in your picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint
from zoo_core.cli.options import all_names, registry
from zoo_core.cli.progress import Bars
from zoo_core.store.store import Store


def explain(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A model, or the path of a run.", autocompletion=all_names)],
    image: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .html page, or a .png.")] = Path("explain.html"),
) -> None:
    """Show filters, feature maps and sizes on a page of its own."""
    known = registry(context)
    from zoo_core.api import explain_image  # torch starts here, and nowhere sooner

    with Bars() as bars:
        written = explain_image(target, image, out, registry=known, store=Store.default(), on_event=bars)
    print(written)
    eprint(f"Try: open {written}")
