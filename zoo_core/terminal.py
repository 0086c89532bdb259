"""Text for people, on stderr: messages that cannot move the cursor, and numbers in readable units."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from zoo_core.errors import printable

if TYPE_CHECKING:  # Rich is loaded when something is printed: --json and completion do without it
    from rich.console import Console

PIPE_WIDTH = 160  # columns, where there is no terminal to ask


def eprint(text: str) -> None:
    """Print a message on stderr, control characters escaped; with several ranks, only the first one prints."""
    if is_first_rank():
        print_safely(err(), text)


def print_safely(console: Console, text: str) -> None:
    """Print text whose lines may contain names from anywhere: no markup, no emoji codes, no terminal escapes."""
    lines = "\n".join(map(printable, text.split("\n")))
    with suppress(OSError):  # stderr may be closed; the work continues
        console.print(lines, markup=False, highlight=False, soft_wrap=True)


def is_first_rank() -> bool:
    """Return whether this process prints: it is the only one, or rank 0 of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def is_watched() -> bool:
    """Return whether a person is watching stderr: a terminal, or a notebook."""
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or (ipython is not None and ipython.get_ipython() is not None)


def err() -> Console:
    """Return the console for everything that is not data."""
    return console_on(sys.stderr)


def console_on(file: TextIO) -> Console:
    """Return a Rich console that neither interprets text nor ends the process when a pipe closes."""
    from rich.console import Console  # Rich is slow to import, and pipes and --json do without

    class PipeTolerantConsole(Console):
        """Leaves a closed pipe to the caller: Rich would end the process."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = None if file.isatty() else PIPE_WIDTH
    return PipeTolerantConsole(file=file, width=width, highlight=False, emoji=False, force_jupyter=False)


def percent(fraction: float) -> str:
    """Return 0.9951 as "99.51 %"."""
    return f"{100 * fraction:.2f} %"


def human_bytes(size: int) -> str:
    """Return a number of bytes in the largest fitting unit: 81.3 MB."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
