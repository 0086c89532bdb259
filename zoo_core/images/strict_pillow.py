"""Keeps Pillow strict about truncated images, whatever other code in this process has set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import ImageFile


class _StrictPillow:
    """Switches `ImageFile.LOAD_TRUNCATED_IMAGES` off while any thread decodes, and restores it after the last one.

    The switch belongs to the process, and scripts set it so that Pillow fills what is missing with gray.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._decoding = 0  # threads
        self._restore = False  # whether the switch was on

    def enter(self) -> None:
        with self._lock:
            self._decoding += 1
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                self._restore, ImageFile.LOAD_TRUNCATED_IMAGES = True, False

    def exit(self) -> None:
        with self._lock:
            self._decoding -= 1
            if self._decoding == 0 and self._restore:
                self._restore, ImageFile.LOAD_TRUNCATED_IMAGES = False, True


_BY_PROCESS: dict[int, _StrictPillow] = {}  # a forked process must not inherit a lock that another thread held


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow raise on truncated images inside the `with` block; safe in threads and forked processes."""
    guard = _BY_PROCESS.setdefault(os.getpid(), _StrictPillow())
    guard.enter()
    try:
        yield
    finally:
        guard.exit()
