"""`zoo check`: is everything as it is declared?"""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_core.cli.console import percent, print_json, print_table
from zoo_core.cli.context import Json, all_names, registry
from zoo_core.errors import CheckFailed
from zoo_core.store import Store


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
    from zoo_core.engine import checks  # torch starts here, and nowhere sooner

    found = list(checks.check(known, Store.default(), name, full=full))
    if json:
        print_json([{**vars(one), "held": one.held} for one in found])
    else:
        rows = [(c.subject, c.what, _text(c.expected), _text(c.found), "yes" if c.held else "NO") for c in found]
        print_table(("", "", "expected", "found", "held"), rows, right=["expected", "found"])
    failed = [
        f"{one.subject}: {one.what}: expected {_text(one.expected)}, found {_text(one.found)}"
        for one in found
        if not one.held
    ]
    failed += [f"{problem.subject}: {problem.cause}" for problem in known.problems]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(found)} checks failed", why="\n".join(f"  {line}" for line in failed))


def _text(value: object) -> str:
    """Return a count with its commas, and shapes as 16 × 75 × 75, one for each call."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) if any(isinstance(v, tuple) for v in value) else " × ".join(map(str, value))
    if isinstance(value, float) and value <= 1:
        return percent(value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
