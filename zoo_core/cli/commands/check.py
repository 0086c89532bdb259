"""`zoo check`: compare cards with counted and measured values."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_core.cli.checks_table import show_checks
from zoo_core.cli.options import Json, all_names, registry
from zoo_core.store.store import Store


def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Model, dataset or recipe.", autocompletion=all_names)] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Measure all reported accuracies; download missing files.")
    ] = False,
    json: Json = False,
) -> None:
    """Count parameters, layers and images, and compare them with the cards and with published numbers."""
    loaded = registry(context)
    from zoo_core.engine.checks import declared as checks  # imports torch, which other commands do not need

    done = list(checks.check(loaded, Store.default(), name, full=full))
    show_checks(done, loaded.problems, json=json)
