"""Ctrl-C and SIGTERM while a run can still save where it stands: the first is noted, the second ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoo_core.errors import TERMINATED

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptFlag:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self.asked: int | None = None  # the signal that did

    def now(self) -> None:
        """End as the signal would have ended us."""
        raise KeyboardInterrupt if self.asked == signal.SIGINT else SystemExit(TERMINATED)


@contextmanager
def deferred_signals(*, again: bool = True) -> Iterator[InterruptFlag]:
    """Inside, the first signal is noted; a second ends at once, unless `again` is False.

    A launcher that ends several processes may send each of them more than one. Outside the main thread, where nothing
    can be done about signals, they stay as they are.
    """
    stop = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop.asked is None:
            stop.asked = number
        elif again:
            stop.now()

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
