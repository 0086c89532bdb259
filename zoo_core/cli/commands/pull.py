"""`zoo pull`: download ahead of time, or import local files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core import pull as pulling
from zoo_core.cli.console import eprint
from zoo_core.cli.options import all_names, registry
from zoo_core.progress import Bars
from zoo_core.store.store import Store


def pull(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="NAME, NAME.WEIGHTS or NAME.EDITION.", autocompletion=all_names)],
    from_: Annotated[Path | None, typer.Option("--from", help="Import from this local file or folder instead.")] = None,
) -> None:
    """Download weights or data ahead of time."""
    files = pulling.files_of(registry(context), name)
    if not files:
        eprint(f"{name} has nothing to download.")
    with Bars() as bars:
        for label, path in pulling.pull(files, Store.default(), origin=from_, on_event=bars):
            print(f"{label}  {path}")
