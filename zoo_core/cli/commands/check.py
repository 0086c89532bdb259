"""`zoo check`: is everything as it is declared?"""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_core.cli.checks_table import show_checks
from zoo_core.cli.options import Json, all_names, registry
from zoo_core.store.store import Store


def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Check only this.", autocompletion=all_names)] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Measure accuracies on all data; fetch what is missing.")
    ] = False,
    json: Json = False,
) -> None:
    """Count parameters, layers and images, and hold them against what is declared and documented."""
    known = registry(context)
    from zoo_core.engine.checks import declared as checks  # torch starts here, and nowhere sooner

    found = list(checks.check(known, Store.default(), name, full=full))
    show_checks(found, known.problems, json=json)
