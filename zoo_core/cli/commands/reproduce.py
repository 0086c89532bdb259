"""`zoo reproduce`: the same plan again, held against what it gave the first time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint, is_first_rank, print_json, print_table
from zoo_core.cli.options import Json, registry
from zoo_core.errors import CheckFailed
from zoo_core.results import format_measured, format_metric, words
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import ReproducedMetric, compare_metrics


def reproduce(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The path of a run.")],
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    json: Json = False,
) -> None:
    """Carry out a run's plan again, and hold every metric against the first."""
    from zoo_core.api.training import run_plan

    first = RunDir.open(run)
    result = run_plan(registry(context).plan_again(first.plan()), out=out, progress=True)
    if not is_first_rank():
        return
    found = compare_metrics(first, RunDir.open(result.directory))
    if json:
        print_json({"run": str(result.directory), "metrics": [{**vars(one), "passed": one.passed} for one in found]})
    else:
        headers = ("", "first", "again", "tolerance", "held")
        print_table(headers, [_row(one) for one in found], right=["first", "again", "tolerance"])
        eprint(f"\nKept in {result.directory}")
    if not found or not all(one.passed for one in found):
        raise CheckFailed(f"{run} was not reproduced", fix=f"zoo runs {run} {result.directory}")


def _row(one: ReproducedMetric) -> tuple[str, ...]:
    again = format_measured(one.metric, one.again)
    tolerance = f"± {format_metric(one.metric, one.tolerance)}" if one.tolerance else "none: the same bits"
    return words(one.metric), format_metric(one.metric, one.first), again, tolerance, "yes" if one.passed else "NO"
