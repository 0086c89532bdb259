"""Calls into plugins: what they raise becomes one exception, and cheap process state is restored afterwards.

Restored: the current folder, the recursion limit, signal handlers, and sys.stdout and sys.stderr. Plugins are code that
the user has installed, so this guards against accidents only. Threads, audit hooks, changes to other modules, warning
filters and closed file descriptors are not undone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from zoo_core.errors import author_line
from zoo_core.registry.pydantic_errors import describe

T = TypeVar("T")
MAX_ERROR_LENGTH = 300  # characters of an error's text
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class BrokenPlugin(Exception):
    """A plugin raised an exception, or a hook returned an invalid value."""


def call_isolated(call: Callable[[], T], what: str, package: str) -> T:
    """Call code of the plugin whose modules are in `package`; what it prints goes to stderr.

    Raises:
        BrokenPlugin: it raised; the message names the error and the plugin's own line.
    """
    try:
        with _process_state_restored(), redirect_stdout(sys.stderr):
            return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end the program that lists it
        text = describe(error) if isinstance(error, ValidationError) else _first_line(error)
        line = author_line(error, package)
        raise BrokenPlugin(
            f"{what} raised {type(error).__name__}{text and ': '}{text}{line and f' (for its author: {line})'}"
        ) from error


@contextmanager
def _process_state_restored() -> Iterator[None]:
    folder, limit, streams = _current_folder(), sys.getrecursionlimit(), (sys.stdout, sys.stderr)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        sys.setrecursionlimit(limit)
        if folder and folder != _current_folder():
            with suppress(OSError):  # the folder was deleted
                os.chdir(folder)
        for number, handler in handlers.items():
            if handler is not signal.getsignal(number):
                with suppress(ValueError, TypeError):  # in a thread, or a handler that Python did not install
                    signal.signal(number, handler)


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text; empty if the error cannot be printed."""
    with suppress(Exception):
        return next(iter(str(error).strip().splitlines()), "")[:MAX_ERROR_LENGTH]
    return ""
