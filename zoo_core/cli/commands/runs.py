"""`zoo runs`: list runs, sorted and filtered, or compare any number of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from zoo_core.cli.console import eprint, out as console, print_json, print_table
from zoo_core.cli.options import Json
from zoo_core.errors import DataError, UsageError, printable
from zoo_core.runs.columns import Column, column, table_columns
from zoo_core.runs.comparison import changed_settings, compared_metrics
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import differences, find_runs
from zoo_core.runs.selection import Filter, selected, to_csv
from zoo_core.runs.summary import RunSummary

LONGEST_VALUE = 60  # characters; --json has all of it
GAP = 2  # spaces between two columns


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER|RUN]...", help="Folders whose runs to list, or two or more runs to compare."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of runs, where none is named.")] = Path("runs"),
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Only runs such as data=photos, model=horses*, tag=paper, status=finished, accuracy>0.9; "
            "may be repeated. KEY is any column or metric, the sign one of = != > >= < <=.",
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="Sort by a column or metric; -COLUMN: the largest first.")
    ] = "",
    columns: Annotated[str, typer.Option(metavar="A,B,C", help="Columns or metrics to show, or all.")] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many runs: the first if sorted, otherwise the newest.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the runs: their metrics, and the settings that differ.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with every field and metric.")] = False,
    json: Json = False,
) -> None:
    """List runs, or compare two or more of them.

    Columns are run, status, data, model, recipe, trainer, weights, lr, seed, epoch (the one kept, of those planned),
    accuracy (of the test images, or else the validation images) with its 95 % interval, split, duration, tags and note.
    """
    if csv and json:
        raise UsageError("--csv and --json exclude each other", fix="zoo runs --csv")
    filters = [Filter.parse(text) for text in filter_ or []]
    found = [run for path in paths or [out] for run in _runs_at(path, named=bool(paths))]
    unique = {run.path.resolve(): run for run in found}.values()
    chosen = selected([RunSummary.listed(run) for run in unique], filters=filters, sort=sort, limit=limit)
    if compare or (len(found) > 1 and all((path / "plan.json").exists() for path in paths or [out])):
        return _compare(chosen, given=len(found), json=json, csv=csv)
    if json:
        return print_json([summary.to_dict() for summary in chosen])
    return _list(chosen, columns, csv=csv)


def _runs_at(path: Path, *, named: bool) -> list[RunDir]:
    if (path / "plan.json").is_file():
        return [RunDir(path)]
    if str(path) in ("tag", "note") and not path.exists():
        raise UsageError(f"there is no run or folder named {path}", fix="zoo tag --help")
    runs = find_runs(path)
    if named and not runs:
        raise DataError(f"there is no run in {path}", why="a run is a folder with a plan.json", fix="zoo runs")
    return runs


def _list(summaries: list[RunSummary], names: str, *, csv: bool) -> None:
    asked = [column(name.strip(), summaries) for name in names.split(",") if name.strip()] if names != "all" else []
    if csv:
        return print(to_csv(summaries, asked), end="")
    known = table_columns(summaries)
    shown = asked or (known if names == "all" or not sys.stdout.isatty() else _fitting(known, summaries))
    rows = [[one.text(summary) for one in shown] for summary in summaries]
    print_table([one.name for one in shown], rows, right=[one.name for one in shown if one.right])
    if not summaries:
        return eprint("No runs. Try: zoo run RECIPE")
    hidden = [one.name for one in known if one not in shown] if not asked else []
    return eprint(f"\nNot shown: {', '.join(hidden)}. Try: zoo runs --columns all") if hidden else None


def _fitting(columns: list[Column], summaries: list[RunSummary]) -> list[Column]:
    """Return the columns that fit the terminal: the most important, and those in which the runs differ, first."""
    widths = {one.name: _width([one.name, *(one.text(summary) for summary in summaries)]) for one in columns}
    kept: list[Column] = []
    left = console().width + GAP
    for one in sorted(columns, key=lambda one: one.rank_among(summaries)):
        if not kept or widths[one.name] + GAP <= left:
            kept.append(one)
            left -= widths[one.name] + GAP
    return [one for one in columns if one in kept]


def _compare(summaries: list[RunSummary], *, given: int, json: bool, csv: bool) -> None:
    runs = [RunDir(summary.run) for summary in summaries]
    if len(runs) < 2 <= given and not (json or csv):
        return eprint("The runs are identical.")
    if len(runs) < 2:
        raise UsageError("only one run given", why="a comparison needs two or more", fix="zoo runs RUN OTHER")
    if json:
        fields = [(field, values) for field, *values in differences(*runs)]
        return print_json(
            [{"field": name, "first": values[0], "second": values[1], "values": values} for name, values in fields]
        )
    metrics = list(compared_metrics(summaries))
    settings = [(name, *map(_text, values)) for name, *values in changed_settings(runs)]
    return _print_comparison([str(run.path) for run in runs], metrics, settings)


def _print_comparison(paths: list[str], metrics: list[tuple[str, ...]], settings: list[tuple[str, ...]]) -> None:
    names = [Path(path).resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = paths
    columns = zip(("", *names), *metrics, *settings, strict=True)
    if sys.stdout.isatty() and sum(_width(column) + GAP for column in columns) - GAP > console().width:
        names = [f"run {number}" for number in range(1, len(paths) + 1)]
        print_table(("", "run"), zip(names, paths, strict=True))
        print()
    print_table(("", *names), metrics, right=names)
    print()
    print_table(("setting", *names), settings)


def _width(texts: Iterable[str]) -> int:
    from rich.cells import cell_len  # Rich is slow to import, and pipes do without

    return max(cell_len(printable(text)) for text in texts)


def _text(value: object) -> str:
    return "" if value is None else shorten(printable(str(value)), LONGEST_VALUE, placeholder=" …")
