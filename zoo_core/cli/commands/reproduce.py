"""`zoo reproduce`: train again from a run's plan, and compare the metrics."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint, is_first_rank, print_json, print_table
from zoo_core.cli.options import Json, NameOption, NoteOption, TagOption, registry
from zoo_core.errors import CheckFailed
from zoo_core.metrics import MetricKind
from zoo_core.results import format_measured, format_metric, words
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import ReproducedMetric, compare_metrics, recorded_differences
from zoo_core.runs.labels import RunLabels


def reproduce(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The path of a run.")],
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    name: NameOption = None,
    tag: TagOption = None,
    note: NoteOption = None,
    json: Json = False,
) -> None:
    """Re-run an experiment and compare its metrics with the original."""
    from zoo_core.api.training import run_plan

    first, labels = RunDir.open(run), RunLabels.checked(name=name, tags=tag or (), note=note)
    result = run_plan(registry(context).plan_again(first.plan()), out=out, labels=labels, progress=True)
    if not is_first_rank():
        return
    again = RunDir.open(result.directory)
    metrics, changed = compare_metrics(first, again), recorded_differences(first, again)
    if json:
        rows = [{**vars(metric), "passed": metric.passed} for metric in metrics]
        print_json({"run": str(result.directory), "metrics": rows, "changed": changed})
    else:
        headers = ("", "first", "again", "tolerance", "verdict")
        print_table(headers, [_row(metric) for metric in metrics], right=["first", "again", "tolerance"])
        for name, (then, now) in changed.items():
            eprint(f"{name}: {then} in the original run, {now} now")
        eprint(f"\nResults saved to {result.directory}")
    if not metrics or not all(metric.passed for metric in metrics):
        fix = shlex.join(["zoo", "runs", str(run), str(result.directory)])
        raise CheckFailed(f"{run} was not reproduced", fix=fix)


def _row(metric: ReproducedMetric) -> tuple[str, ...]:
    kinds: dict[str, MetricKind] = {metric.metric: metric.kind}
    again = format_measured(metric.metric, metric.again, kinds)
    tolerance = (
        f"± {format_metric(metric.metric, metric.tolerance, kinds)}" if metric.tolerance else "none: the same bits"
    )
    first, verdict = format_metric(metric.metric, metric.first, kinds), "match" if metric.passed else "NO MATCH"
    return words(metric.metric), first, again, tolerance, verdict
