"""`zoo runs`: list runs, and compare them field by field."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json
from zoo_core.errors import UsageError, printable
from zoo_core.metrics import MAIN_METRIC
from zoo_core.results import format_metric, words
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import Summary, differences, find_runs

LONGEST_VALUE = 60  # characters; --json has all of it
HEADLINES = tuple(
    f"{split}_{name}" for split in ("test", "validation", "train") for name in MAIN_METRIC.values()
)  # the first of these that a run has is listed


def runs(
    compared: Annotated[list[Path] | None, typer.Argument(metavar="[RUN]...", help="Runs to compare.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs in ./runs, or compare two or more of them."""
    if compared:
        return _compare(compared, json=json)
    summaries = [Summary.listed(run) for run in find_runs(out)]
    if json:
        return print_json([_as_json(summary) for summary in summaries])
    headers = ("name", "status", "model", "data", "epochs", "metric", "time")
    return print_table(headers, [_row(summary) for summary in summaries], right=["epochs", "time"])


def _compare(paths: list[Path], *, json: bool) -> None:
    if len(paths) < 2:
        raise UsageError("only one run given", why="a comparison needs two or more", fix="zoo runs RUN OTHER")
    rows = list(differences(*(RunDir.open(path) for path in paths)))
    if json:
        return print_json(
            [{"field": field, "first": values[0], "second": values[1], "values": values} for field, *values in rows]
        )
    if not rows:
        return eprint("The runs are identical.")
    headers = ("field", *(printable(str(path)) for path in paths))
    return print_table(headers, [(printable(field), *map(_text, values)) for field, *values in rows])


def _as_json(summary: Summary) -> dict[str, object]:
    finished, planned = summary.epochs
    return {
        "run": str(summary.run.path),
        "status": summary.status,
        "reason": summary.reason,
        "model": summary.model,
        "data": summary.data,
        "epochs": finished,
        "planned_epochs": planned,
        "metrics": summary.metrics,
        "seconds": summary.seconds,
    }


def _row(summary: Summary) -> tuple[str, ...]:
    status = "killed" if summary.reason.startswith("killed") else summary.status
    epochs = "/".join(map(str, summary.epochs)) if summary.epochs[1] else ""
    cells = (str(summary.run.path), status, summary.model, summary.data, epochs, _headline(summary))
    return (*map(printable, cells), f"{summary.seconds:.1f} s")


def _headline(summary: Summary) -> str:
    name = next((name for name in (*HEADLINES, *summary.metrics) if name in summary.metrics), None)
    return "" if name is None else f"{words(name)} {format_metric(name, summary.metrics[name], summary.kinds)}"


def _text(value: object) -> str:
    return "" if value is None else shorten(printable(str(value)), LONGEST_VALUE, placeholder=" …")
