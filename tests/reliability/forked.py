"""Processes to be killed: forked from a server that has imported torch once, so that a kill costs no import."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

KILLED = -9  # how the exit code of a process that was killed reads


def child(work: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that does some work of zoo_programs."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["zoo_core.engine.training.run", "zoo_core.cli.commands.run", "zoo_core.api"])
    process = server.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def finished(process: ForkServerProcess, *, within: float) -> int:
    """Wait for a process's end, and return its exit code; one that hangs is a failure."""
    process.join(within)
    assert process.exitcode is not None, f"it was not done after {within} s"
    return process.exitcode
