"""A Python process of our own that may fail in any way: limited in time and memory, silent, and gone afterwards."""

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
    """Run a program with this process's interpreter and path, and return its exit code; what it prints is dropped.

    Args:
        program: Python source; `sys.argv[1:]` are the arguments.
        arguments: text.
        seconds: then it is killed, and all that it started.

    Returns:
        The exit code, the negative number of the signal that ended it, or None: it took too long.
    """
    command = [sys.executable, "-P", "-c", START + program, json.dumps(sys.path), *arguments]
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):  # it and its children are gone already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def limit_memory(size: int) -> None:
    """Let this process hold no more than `size` bytes, where the system can see to that."""
    if find_spec("resource") is None:
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = size if most == resource.RLIM_INFINITY else min(size, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def limit_cpu_and_output(seconds: float, written: int) -> None:
    """Let this process compute for so long, write no larger file, and leave no core file, where the system can."""
    if find_spec("resource") is None:
        return
    import resource

    limits = {resource.RLIMIT_CPU: int(seconds), resource.RLIMIT_FSIZE: written, resource.RLIMIT_CORE: 0}
    for kind, most in limits.items():
        with suppress(ValueError, OSError):  # a lower limit is there already
            resource.setrlimit(kind, (most, most))


def deny_audit_events(events: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    """Let this process do nothing more whose audit event begins so, except what is allowed; this has no way back."""

    def watch(event: str, _: object) -> None:
        if event.startswith(events) and event not in allowed:
            raise PermissionError(f"it tried {event}")

    sys.addaudithook(watch)


def describe_exit(code: int | None, seconds: float) -> str:
    """Say in words how a child ended."""
    if code is None:
        return f"it was not done after {seconds:g} s"
    if code < 0:
        return f"it crashed its process: signal {-code}, {signal.strsignal(-code)}"
    return f"it ended its process, with exit code {code}"
