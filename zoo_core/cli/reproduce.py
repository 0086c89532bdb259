"""`zoo reproduce`: the same plan again, held against what it gave the first time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.bars import carry_out
from zoo_core.cli.console import is_first_rank, note, print_json, print_table
from zoo_core.cli.context import Json, registry
from zoo_core.errors import CheckFailed
from zoo_core.results import show_measured, show_metric, words
from zoo_core.rundir import RunDir
from zoo_core.runs import Repeated, repeated


def reproduce(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The path of a run.")],
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    json: Json = False,
) -> None:
    """Carry out a run's plan again, and hold every metric against the first."""
    first = RunDir.open(run)
    result = carry_out(registry(context).plan_again(first.plan()), out)
    if not is_first_rank():
        return
    found = repeated(first, RunDir.open(result.directory))
    if json:
        print_json({"run": str(result.directory), "metrics": [{**vars(one), "held": one.held} for one in found]})
    else:
        headers = ("", "first", "again", "tolerance", "held")
        print_table(headers, [_row(one) for one in found], right=["first", "again", "tolerance"])
        note(f"\nKept in {result.directory}")
    if not found or not all(one.held for one in found):
        raise CheckFailed(f"{run} was not reproduced", fix=f"zoo runs {run} {result.directory}")


def _row(one: Repeated) -> tuple[str, ...]:
    again = show_measured(one.metric, one.again)
    tolerance = f"± {show_metric(one.metric, one.tolerance)}" if one.tolerance else "none: the same bits"
    return words(one.metric), show_metric(one.metric, one.first), again, tolerance, "yes" if one.held else "NO"
