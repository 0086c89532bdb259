"""The command line: one short file per command. A command parses, calls one function, and prints."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TextIO

from zoo_core.cli.app import app
from zoo_core.cli.console import is_first_rank, print_error
from zoo_core.errors import ResourceError, ZooError

ENDING = (signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
PIPE_CLOSED = 141  # the exit code when stdout was closed, as in shells: 128 + SIGPIPE


def main() -> None:
    """Run `zoo`. Every failure ends with a message and the exit code of its kind."""
    _ready_streams()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, _end)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a failure can still be reported
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # as typer ends then
            _end_with_closed_pipe()
        raise
    except BrokenPipeError:
        _end_with_closed_pipe()
    except Exception as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        failure = _as_zoo_error(error)
        if is_first_rank() or hasattr(error, "__notes__"):  # an error of another rank carries a note with its number
            print_error(failure)
        sys.exit(failure.exit_code if isinstance(failure, ZooError) else 1)
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr)


def _ready_streams() -> None:
    """Keep commands working where the terminal's encoding has no ×, or a service has no stdout."""
    sys.stdout, sys.stderr = (stream or io.StringIO() for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _as_zoo_error(error: Exception) -> Exception:
    """Return an error of the operating system as a ResourceError, and any other unchanged."""
    if isinstance(error, MemoryError):
        return ResourceError("out of memory", why=str(error), fix="zoo run RECIPE --batch-size SMALLER")
    if isinstance(error, OSError):
        _drop(sys.stdout)
        what = error.filename or "the output"
        why = error.strerror or str(error)
        return ResourceError(f"{what} cannot be read or written", why=why, fix="df -h")
    return error


def _end_with_closed_pipe() -> None:
    _drop(sys.stdout)
    sys.exit(PIPE_CLOSED)


def _drop(stream: TextIO) -> None:
    """Discard what a stream still buffers: at exit, the interpreter would try to write it again, and complain."""
    if isinstance(stream, io.TextIOWrapper):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


def _end(number: int, _: object) -> None:
    """Exit as Ctrl-C does: open files are closed, and a run's directory records why it ended."""
    sys.exit(128 + number)
