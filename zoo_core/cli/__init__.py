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
PIPE_CLOSED = 141  # the exit code when nobody reads what we print, as shells give it: 128 + SIGPIPE


def main() -> None:
    """Run `zoo`; every failure ends in a message and an exit code of its own kind."""
    _ready_streams()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, _end)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it can still be told that it failed
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # as typer ends then
            _nobody_reads()
        raise
    except BrokenPipeError:
        _nobody_reads()
    except Exception as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        told = _of_our_family(error)
        if is_first_rank() or hasattr(error, "__notes__"):  # what came to one rank alone is noted with its number
            print_error(told)
        sys.exit(told.exit_code if isinstance(told, ZooError) else 1)
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr)


def _ready_streams() -> None:
    """Let no character and no closed stream stop a command: a terminal may have no ×, a service no stdout."""
    sys.stdout, sys.stderr = (stream or io.StringIO() for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _of_our_family(error: Exception) -> Exception:
    """Return what the machine refused as a ResourceError; anything else as it is."""
    if isinstance(error, MemoryError):
        return ResourceError("there is not enough memory", why=str(error), fix="end other programs, and try again")
    if isinstance(error, OSError):
        _drop(sys.stdout)
        what = error.filename or "the output"
        why = error.strerror or str(error)
        return ResourceError(f"{what} cannot be read or written", why=why, fix="df -h, ls -l, ulimit -a")
    return error


def _nobody_reads() -> None:
    _drop(sys.stdout)
    sys.exit(PIPE_CLOSED)


def _drop(stream: TextIO) -> None:
    """Send what a stream still holds nowhere: the interpreter would try it again at its end, and complain."""
    if isinstance(stream, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _end(number: int, _: object) -> None:
    """End as Ctrl-C does: open files are closed, and a run's directory records why it ended."""
    sys.exit(128 + number)
