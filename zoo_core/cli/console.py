"""What the commands print: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from zoo_core.errors import ZooError, printable
from zoo_core.terminal import (
    console_on,
    eprint as eprint,
    err,
    human_bytes as human_bytes,
    is_first_rank as is_first_rank,
    percent as percent,
    print_safely,
)

if TYPE_CHECKING:
    from rich.console import Console

UNBROKEN = (
    "kind",
    "name",
    "run",
    "setting",
    "layer",
    "weights",
    "edition",
    "key",
)  # columns of what people copy into commands


def out() -> Console:
    """Return the console for data."""
    return console_on(sys.stdout)


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: Sequence[str] = ()
) -> None:
    """Print rows under headers; `right` names the headers whose columns are numbers.

    A terminal gets columns that fit it, in which names never break; a pipe or file one line for each row. Control
    characters are escaped: cells may come from files that someone else wrote.
    """
    cells = [[_escaped(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_fitted(headers, cells, title, right)
    else:
        _print_lines(headers, cells, title, right)


def _escaped(cell: str) -> str:
    return "\n".join(map(printable, cell.split("\n")))


def _print_fitted(headers: Sequence[str], rows: list[list[str]], title: str, right: Sequence[str]) -> None:
    from rich.table import Table  # Rich is slow to import, and pipes and --json do without
    from rich.text import Text  # as above

    table = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for header in headers:
        justify: Literal["left", "right"] = "right" if header in right else "left"
        table.add_column(Text(header), justify=justify, overflow="fold", no_wrap=header in UNBROKEN)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out().print(table)


def _print_lines(headers: Sequence[str], rows: list[list[str]], title: str, right: Sequence[str]) -> None:
    """Print without Rich: importing it would take longer than the command's own work."""
    headers = [_escaped(header) for header in headers]
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    if title:
        print(title)
    for row in (headers, *rows):
        aligned = (
            f"{cell:{'>' if header in right else '<'}{width}}"
            for cell, header, width in zip(row, headers, widths, strict=True)
        )
        print("  ".join(aligned).rstrip())


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document; raises ValueError for NaN and infinity, which JSON does not have."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(error: Exception) -> None:
    """Print what failed, why, and the next command to type."""
    where = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    if isinstance(error, ZooError):
        print_safely(err(), f"Error{where}: {error}")
    else:
        bug = "This is a bug in zoo; ZOO_DEBUG=1 shows the traceback\nTry: export ZOO_DEBUG=1"
        print_safely(err(), f"Error{where}: {type(error).__name__}: {error}\n{bug}")
