"""Shows a run as it goes on: bars on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from zoo_core.cli.console import err, note
from zoo_core.plans import Plan
from zoo_core.results import EpochResult, Event, Progress as Step, RunResult, show_metric

PLAIN_EVERY = 10.0  # seconds between plain lines


class Bars:
    """An observer of events, to be used as a context manager."""

    def __init__(self, *, shown: bool = True) -> None:
        console = err()
        self._shown = shown
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
        self._bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._plain = not console.is_terminal
        self._task: TaskID | None = None
        self._what, self._said = "", 0.0

    def __enter__(self) -> Self:
        if self._shown and not self._plain:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if not self._shown:
            return
        if isinstance(event, EpochResult):
            self._say(epoch_line(event))
        elif isinstance(event, Step):
            self._plain_step(event) if self._plain else self._step(event)

    def fetched(self, done: int, total: int) -> None:
        """Show how much of a file is here, in bytes."""
        self(Step("fetching", done, total))

    def _step(self, step: Step) -> None:
        if step.what != self._what or self._task is None:
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._what, self._task = step.what, self._bars.add_task(step.what, total=step.total)
        self._bars.update(self._task, completed=step.done, total=step.total)

    def _plain_step(self, step: Step) -> None:
        if monotonic() - self._said >= PLAIN_EVERY and step.done < step.total:
            note(f"{step.what}: {step.done:,} of {step.total:,}")
            self._said = monotonic()

    def _say(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, soft_wrap=True)
        self._said = monotonic()


def epoch_line(result: EpochResult) -> str:
    """Return an epoch in one line."""
    figures = [f"{name.replace('_', ' ')} {show_metric(name, value)}" for name, value in result.metrics.items()]
    return "   ".join([f"epoch {result.epoch}/{result.epochs}", *figures, f"{result.seconds:.1f} s"])


def carry_out(plan: Plan, folder: Path) -> tuple[RunResult, bool]:
    """Return the result, and whether we are the process that prints it."""
    from zoo_core.engine.ranks import joined
    from zoo_core.engine.run import execute  # torch starts here, and nowhere sooner
    from zoo_core.store import Store

    with joined() as ranks, Bars(shown=ranks.is_first) as bars:
        return execute(plan, store=Store.default(), out=folder, observe=bars, ranks=ranks), ranks.is_first
