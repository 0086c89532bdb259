"""`zoo runs`: what was run, and how two runs differ."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json
from zoo_core.errors import UsageError
from zoo_core.results import format_metric, words
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import Summary, differences, find_runs

WIDEST = 60  # characters of a value; --json has all of it
SHOWN = ("test_accuracy", "validation_accuracy", "train_accuracy")  # the first that a run has


def runs(
    pair: Annotated[list[Path] | None, typer.Argument(help="Two runs to compare, field by field.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs in ./runs, or compare two of them."""
    if pair:
        return _compare(pair, json=json)
    found = [Summary.listed(run) for run in find_runs(out)]
    if json:
        told = [{"run": str(s.run.path), "status": s.status, "metrics": s.metrics, "seconds": s.seconds} for s in found]
        return print_json(told)
    rows = [(str(s.run.path), s.status, _headline(s), f"{s.seconds:.1f} s") for s in found]
    return print_table(("name", "status", "measured", "epochs"), rows, right=["epochs"])


def _compare(pair: list[Path], *, json: bool) -> None:
    if len(pair) != 2:
        raise UsageError("two runs are compared at a time", fix="zoo runs RUN OTHER")
    one, other = (RunDir.open(path) for path in pair)
    found = list(differences(one, other))
    if json:
        return print_json([{"field": field, "first": first, "second": second} for field, first, second in found])
    if not found:
        return eprint("They are alike, field by field.")
    rows = [(field, _text(first), _text(second)) for field, first, second in found]
    return print_table(("field", str(pair[0]), str(pair[1])), rows)


def _headline(summary: Summary) -> str:
    name = next((name for name in SHOWN if name in summary.metrics), None)
    return "" if name is None else f"{words(name)} {format_metric(name, summary.metrics[name])}"


def _text(value: object) -> str:
    return "" if value is None else shorten(str(value), WIDEST, placeholder=" …")
