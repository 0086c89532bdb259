"""Shows progress on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from zoo_core.errors import printable
from zoo_core.events import AuditNote, EpochResult, Event, OnEvent, Progress as Step, Resumed, Saved, ignore_event
from zoo_core.results import format_metric, words
from zoo_core.terminal import eprint, err, human_bytes, is_first_rank, is_watched, print_safely

IN_TABLE = ("validation_balanced_accuracy", "validation_macro_f1")
LINE_EVERY = 5.0  # seconds between lines, where there are no bars
MAX_PATHS = 21  # of a note
RATE_AFTER = 3.0  # seconds: earlier, the first bytes or batches say nothing about the rate


class Bars:
    """A context manager that handles events: shows how much is done, how fast, and how long is left."""

    def __init__(self, *, shown: bool = True) -> None:
        console = err()
        self._shown = shown
        columns = (TextColumn("{task.description}"), BarColumn(), _Done(), _Rate(), _Remaining())
        self._bars = Progress(*columns, console=console, transient=True)
        self._as_lines = not console.is_terminal
        self._task: TaskID | None = None
        self._what = ""
        self._began = self._printed = monotonic()
        self._first = 0  # units that were done at the first event
        self._checkpoint: Saved | Resumed | None = None  # the newest

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()
        if error is not None and self._checkpoint is not None and self._shown:
            path = shlex.quote(str(self._checkpoint.run))
            eprint(f"Saved: {position(self._checkpoint)}. Try: zoo run --resume {path}")

    @property
    def _live(self) -> bool:
        return self._shown and not self._as_lines

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if not self._shown:
            return
        if isinstance(event, EpochResult):
            self._print(epoch_line(event))
        elif isinstance(event, Resumed):
            self._checkpoint = event
            for line in resumed_lines(event):
                self._print(line)
        elif isinstance(event, Saved):
            self._checkpoint = event
        elif isinstance(event, AuditNote):
            for line in note_lines(event):
                self._print(line)
        elif isinstance(event, Step):
            self._print_step(event) if self._as_lines else self._move_bar(event)

    def _move_bar(self, step: Step) -> None:
        if step.what != self._what or self._task is None:
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._what = step.what
            self._task = self._bars.add_task(step.what, total=step.total, unit=step.unit)
        self._bars.update(self._task, completed=step.done, total=step.total)

    def _print_step(self, step: Step) -> None:
        now = monotonic()
        if step.what != self._what:
            self._what, self._began, self._first = step.what, now, step.done
        elif now - self._printed >= LINE_EVERY and step.done < step.total:
            seconds = now - self._began
            eprint(progress_line(step, (step.done - self._first) / seconds if seconds >= RATE_AFTER else 0.0))
            self._printed = now

    def _print(self, line: str) -> None:
        print_safely(self._bars.console, line)
        self._printed = monotonic()


@contextmanager
def handled_events(on_event: OnEvent | None, progress: bool | None) -> Iterator[OnEvent]:
    """Yield the handler for events: the caller's, a progress display, or both.

    `progress` None shows it where there is no `on_event` and someone is watching: a terminal or a notebook.
    """
    if not (on_event is None and is_watched() if progress is None else progress):
        yield on_event or ignore_event
        return
    with Bars(shown=is_first_rank()) as bars:

        def handle(event: Event) -> None:
            bars(event)
            if on_event is not None:
                on_event(event)

        yield handle


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(counted(int(task.completed), int(task.total or 0), task.fields["unit"]))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        known = task.speed and (task.elapsed or 0) >= RATE_AFTER
        return Text(rate(task.speed or 0.0, task.fields["unit"]) if known else "")


class _Remaining(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        return super().render(task) if (task.elapsed or 0) >= RATE_AFTER else Text("")


def progress_line(step: Step, speed: float) -> str:
    """Return a step as a line: how much is done, how fast, and how long is left; a speed of 0 is unknown."""
    done = f"{step.what}: {counted(step.done, step.total, step.unit)}"
    if speed <= 0:
        return done
    return f"{done}, {rate(speed, step.unit)}, {(step.total - step.done) / speed:.0f} s left"


def counted(done: int, total: int, unit: str) -> str:
    """Return 320 of 1,027 images, or 1.2 MB of 81.3 MB."""
    if unit == "B":
        return f"{human_bytes(done)} of {human_bytes(total)}"
    return f"{done:,} of {total:,} {unit}".rstrip()


def rate(speed: float, unit: str) -> str:
    """Return units per second."""
    if unit == "B":
        return f"{human_bytes(int(speed))}/s"
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


def position(event: Saved | Resumed) -> str:
    """Return where in the training a checkpoint was taken, in words."""
    if event.step:
        return f"epoch {event.epoch + 1}, step {event.step}"
    return f"the end of epoch {event.epoch}"


def resumed_lines(event: Resumed) -> list[str]:
    """Return what to report about a run that resumes."""
    lines = [f"Skipped: {damage}" for damage in event.damaged]
    started = event.epoch or event.step
    lines.append(f"Resuming from {position(event)}" if started else "No checkpoint: starting from the beginning")
    for name, (then, now) in event.changed.items():
        lines.append(f"{name} was {then} when the run began and is {now} now: results may differ in the last bits")
    return lines


def note_lines(note: AuditNote) -> list[str]:
    """Return a note about the images; of many paths, the first ones."""
    more = len(note.paths) - MAX_PATHS
    lines = [f"Note: {note.what}", *(f"  {path}" for path in note.paths[:MAX_PATHS])]
    return [*map(printable, lines), f"  and {more:,} more: see audit.json"] if more > 0 else [*map(printable, lines)]


def epoch_line(result: EpochResult) -> str:
    """Return an epoch in one line, without what only the table after the last epoch shows."""
    shown = {name: value for name, value in result.metrics.items() if name not in IN_TABLE or name in result.kinds}
    metrics = [f"{words(name)} {format_metric(name, value, result.kinds)}" for name, value in shown.items()]
    return "   ".join([f"epoch {result.epoch}/{result.epochs}", *metrics, f"{result.seconds:.1f} s"])
