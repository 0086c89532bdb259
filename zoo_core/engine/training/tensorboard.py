"""Writes a run's metrics for TensorBoard into its directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from zoo_core.errors import UsageError
from zoo_core.events import EpochResult, Event, OnEvent
from zoo_core.runs.directory import RunDir


def need_tensorboard() -> None:
    """Raise UsageError if the package is missing; called before a run starts."""
    if find_spec("tensorboard") is None:
        raise UsageError("tensorboard is not installed", fix="pip install tensorboard")


@contextmanager
def on_board(run: RunDir, on_event: OnEvent) -> Iterator[OnEvent]:
    """Inside, the metrics of each epoch are also written as scalars into the run's directory."""
    from torch.utils.tensorboard import SummaryWriter  # an optional dependency

    def write(event: Event) -> None:
        if isinstance(event, EpochResult):
            for name, value in event.metrics.items():
                writer.add_scalar(name, value, event.epoch)
        on_event(event)

    with SummaryWriter(str(run.path)) as writer:
        yield write
