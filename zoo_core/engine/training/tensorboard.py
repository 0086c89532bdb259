"""Writes a run's metrics for TensorBoard, beside its own files, where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from zoo_core.errors import UsageError
from zoo_core.events import EpochResult, Event, OnEvent
from zoo_core.runs.directory import RunDir


def need_tensorboard() -> None:
    """Raise UsageError where the package is missing: before a run, and not after it."""
    if find_spec("tensorboard") is None:
        raise UsageError("tensorboard is not installed", fix="pip install tensorboard")


@contextmanager
def on_board(run: RunDir, on_event: OnEvent) -> Iterator[OnEvent]:
    """Inside, what is observed is also written as scalars, one for each metric and epoch, into the run's directory."""
    from torch.utils.tensorboard import SummaryWriter

    def write(event: Event) -> None:
        if isinstance(event, EpochResult):
            for name, value in event.metrics.items():
                writer.add_scalar(name, value, event.epoch)
        on_event(event)

    with SummaryWriter(str(run.path)) as writer:
        yield write
