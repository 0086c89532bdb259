"""What the commands print with: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

from zoo_core.errors import ZooError

if TYPE_CHECKING:  # Rich is loaded when something is printed: --json and completion do without
    from rich.console import Console

WHOLE = ("kind", "name", "layer", "weights", "edition", "key")  # columns of what people copy into commands
PIPE_WIDTH = 160  # columns, where no terminal says how many it has


def out() -> Console:
    """Return the console for data."""
    return _console(sys.stdout)


def err() -> Console:
    """Return the console for everything else."""
    return _console(sys.stderr)


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: Sequence[str] = ()
) -> None:
    """Print rows under headers; `right` names the headers whose columns are numbers.

    A terminal gets columns that fit it, in which names never break; a pipe or file one line for each row.
    """
    if sys.stdout.isatty():
        _print_fitted(headers, list(rows), title, right)
    else:
        _print_lines(headers, list(rows), title, right)


def _print_fitted(headers: Sequence[str], rows: list[Sequence[str]], title: str, right: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for header in headers:
        justify: Literal["left", "right"] = "right" if header in right else "left"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=header in WHOLE)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out().print(table)


def _print_lines(headers: Sequence[str], rows: list[Sequence[str]], title: str, right: Sequence[str]) -> None:
    """Print without Rich: that would take longer than finding what is printed."""
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
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def eprint(text: str) -> None:
    """Say something to the person, beside the data; of several ranks, only the first does."""
    if is_first_rank():
        _say(text)


def is_first_rank() -> bool:
    """Tell whether we are the process that prints: alone, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def print_error(error: Exception) -> None:
    """Say what failed, why, and what to type next."""
    where = "".join(f" ({one})" for one in getattr(error, "__notes__", ()))
    if isinstance(error, ZooError):
        _say(f"Error{where}: {error}")
    else:
        _say(
            f"Error{where}: {type(error).__name__}: {error}\nThis is a bug in zoo.\nTry: ZOO_DEBUG=1 for the traceback"
        )


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more; the work goes on
        err().print(text, markup=False, highlight=False, soft_wrap=True)


def percent(fraction: float) -> str:
    """Return 0.9951 as "99.51 %"."""
    return f"{100 * fraction:.2f} %"


def human_bytes(size: int) -> str:
    """Return a number of bytes as people read it."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _console(file: TextIO) -> Console:
    from rich.console import Console

    class Patient(Console):
        """Leaves it to us what a closed pipe means: Rich would end the process."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Patient(file=file, width=None if file.isatty() else PIPE_WIDTH, highlight=False)
