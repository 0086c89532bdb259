"""Allows one run at a time in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from zoo_core.errors import UsageError

RUNNING = Lock()  # global because PyTorch's random generator is: two runs would draw from it alternately


@contextmanager
def single_run() -> Iterator[None]:
    """Refuse a second run in this process: neither would follow its seed.

    Raises:
        UsageError: another run is in progress, in another thread or in this one.
    """
    if not RUNNING.acquire(blocking=False):
        raise UsageError(
            "another run is in progress in this process",
            why="both would draw from PyTorch's one random generator; start the second run in another process",
        )
    try:
        yield
    finally:
        RUNNING.release()
