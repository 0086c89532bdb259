"""The command line: one short file per command. A command parses, calls one function, and prints."""

from __future__ import annotations

import io
import os
import sys
from signal import SIGTERM, signal

from zoo_core.cli.app import app
from zoo_core.cli.console import is_first_rank, print_error
from zoo_core.errors import TERMINATED, ZooError


def main() -> None:
    """Run `zoo`; every failure ends in a message and an exit code of its own kind."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no × must not stop a run
    signal(SIGTERM, _end)
    try:
        app()
    except Exception as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        if is_first_rank() or hasattr(error, "__notes__"):  # what came to one rank alone is noted with its number
            print_error(error)
        sys.exit(error.exit_code if isinstance(error, ZooError) else 1)


def _end(*_: object) -> None:
    """End as Ctrl-C does: what is under way is closed, and its directory says so."""
    sys.exit(TERMINATED)
