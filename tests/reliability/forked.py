"""Processes to be killed: forked from a server that has imported torch once, which saves time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

import zoo_programs

KILLED = -9  # the exit code of a killed process


def child(work: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that runs a function of zoo_programs."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["zoo_core.engine.training.run", "zoo_core.cli.commands.run", "zoo_core.api"])
    process = server.Process(target=zoo_programs.interruptible, args=(work, *arguments), daemon=True)
    process.start()
    return process


def finished(process: ForkServerProcess, *, within: float) -> int:
    """Wait for a process to end, and return its exit code; fail if it hangs."""
    process.join(within)
    if process.exitcode is None:
        process.kill()  # a hung process would slow every later test down
        raise AssertionError(f"it did not finish within {within} s")
    return process.exitcode
