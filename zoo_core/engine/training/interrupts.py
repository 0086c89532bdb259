"""Ctrl-C, SIGTERM and SIGHUP during training: the first waits for a checkpoint, the second ends the run at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


class InterruptFlag:
    """The first signal that asked the run to end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether the run was asked to end."""
        return self.signal is not None

    def end_run(self) -> None:
        """End as the signal would have: KeyboardInterrupt, or SystemExit with the shell's exit code for it.

        Raises:
            KeyboardInterrupt: it was Ctrl-C.
            SystemExit: it was another signal; the code is 128 + its number.
        """
        assert self.signal is not None
        raise KeyboardInterrupt if self.signal == signal.SIGINT else SystemExit(128 + self.signal)


@contextmanager
def deferred_signals(*, second_ends: bool = True) -> Iterator[InterruptFlag]:
    """Inside, the first signal sets the flag; a second one ends the run at once, unless `second_ends` is False.

    A launcher that ends several processes may send each of them more than one. Outside the main thread, where Python
    cannot handle signals, nothing changes. A signal that was ignored before, as `nohup` does it, stays ignored.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def record(number: int, frame: FrameType | None) -> None:
        if flag.signal is None:
            flag.signal = number
        elif second_ends:
            flag.end_run()

    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, record) for number in handled}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
