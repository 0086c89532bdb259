"""A Python subprocess that may fail in any way: limited in time and memory, silent, and always cleaned up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec

START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "


def run_child(program: str, arguments: Sequence[str], *, seconds: float) -> int | None:
    """Run a program with this interpreter and `sys.path`, and return its exit code; its output is discarded.

    Args:
        program: Python source; `sys.argv[1:]` are the arguments.
        arguments: the program's command-line arguments.
        seconds: the time limit, after which it and everything it started are killed.

    Returns:
        The exit code, the negative number of the signal that ended it, or None if it ran out of time.
    """
    command = [sys.executable, "-P", "-c", START + program, json.dumps(sys.path), *arguments]
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _kill_group(process)
        process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children; on Windows, which has no process groups to signal, the process alone."""
    with suppress(ProcessLookupError, PermissionError):  # all of them have ended already
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def limit_memory(size: int) -> None:
    """Limit this process to `size` bytes of data, where the system supports it."""
    if find_spec("resource") is None:
        return
    import resource  # missing on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def limit_cpu_and_output(seconds: float, written: int) -> None:
    """Limit this process's CPU time (seconds) and file sizes (bytes) and disable core files, where supported."""
    if find_spec("resource") is None:
        return
    import resource  # missing on Windows

    limits = {resource.RLIMIT_CPU: int(seconds), resource.RLIMIT_FSIZE: written, resource.RLIMIT_CORE: 0}
    for kind, limit in limits.items():
        with suppress(ValueError, OSError):  # a lower limit is already set
            resource.setrlimit(kind, (limit, limit))


def deny_audit_events(events: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    """Raise on audit events with these prefixes, except those in `allowed`. This process cannot undo it."""

    def watch(event: str, _: object) -> None:
        if event.startswith(events) and event not in allowed:
            raise PermissionError(f"it tried {event}")

    sys.addaudithook(watch)


def describe_exit(code: int | None, seconds: float) -> str:
    """Return how a subprocess ended, in words."""
    if code is None:
        return f"it did not finish within {seconds:g} s"
    if code < 0:
        return f"it crashed its process: signal {-code}, {signal.strsignal(-code)}"
    return f"it exited with code {code}"
