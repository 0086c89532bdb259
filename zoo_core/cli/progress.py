"""Shows a run as it goes on: bars on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from zoo_core.cli.console import eprint, err, human_bytes
from zoo_core.events import EpochResult, Event, Progress as Step, Resumed, Saved
from zoo_core.recipes import Plan
from zoo_core.results import RunResult, format_metric, words
from zoo_core.runs.directory import RunDir

PLAIN_EVERY = 5.0  # seconds between plain lines


class Bars:
    """An observer of events, to be used as a context manager: how far, how fast, and for how long yet."""

    def __init__(self, *, shown: bool = True) -> None:
        console = err()
        self._shown = shown
        columns = (TextColumn("{task.description}"), BarColumn(), _Done(), _Rate(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, transient=True)
        self._plain = not console.is_terminal
        self._task: TaskID | None = None
        self._what = ""
        self._began = self._said = monotonic()
        self._first = 0  # units that were done when it began
        self._saved: Saved | Resumed | None = None  # the newest checkpoint

    def __enter__(self) -> Self:
        if self._moving:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._moving:
            self._bars.stop()
        if error is not None and self._saved is not None and self._shown:
            eprint(f"Saved: {place(self._saved)}. Try: zoo run --resume {self._saved.run}")

    @property
    def _moving(self) -> bool:
        return self._shown and not self._plain

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if not self._shown:
            return
        if isinstance(event, EpochResult):
            self._say(epoch_line(event))
        elif isinstance(event, Resumed):
            self._saved = event
            for line in resumed_lines(event):
                self._say(line)
        elif isinstance(event, Saved):
            self._saved = event
        elif isinstance(event, Step):
            self._plain_step(event) if self._plain else self._step(event)

    def _step(self, step: Step) -> None:
        if step.what != self._what or self._task is None:
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._what = step.what
            self._task = self._bars.add_task(step.what, total=step.total, unit=step.unit)
        self._bars.update(self._task, completed=step.done, total=step.total)

    def _plain_step(self, step: Step) -> None:
        now = monotonic()
        if step.what != self._what:
            self._what, self._began, self._first = step.what, now, step.done
        elif now - self._said >= PLAIN_EVERY and step.done < step.total:
            eprint(plain_line(step, (step.done - self._first) / (now - self._began)))
            self._said = now

    def _say(self, line: str) -> None:
        with suppress(OSError):  # nobody reads it any more; the work goes on
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._said = monotonic()


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(counted(int(task.completed), int(task.total or 0), task.fields["unit"]))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(rate(task.speed, task.fields["unit"]) if task.speed else "")


def plain_line(step: Step, speed: float) -> str:
    """Return a step as a line: how far, how fast, and for how long yet."""
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
    """Return units a second."""
    if unit == "B":
        return f"{human_bytes(int(speed))}/s"
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


def place(event: Saved | Resumed) -> str:
    """Return where a checkpoint stands, in words."""
    return f"epoch {event.epoch + 1}, {event.step} steps" if event.step else f"{event.epoch} epochs"


def resumed_lines(event: Resumed) -> list[str]:
    """Return what is to be known of a run that goes on."""
    lines = [f"Passed over: {one}" for one in event.damaged]
    lines.append(f"Going on from {place(event)}" if event.epoch or event.step else "No checkpoint: from the start")
    for name, (then, now) in event.changed.items():
        lines.append(f"{name}: {then} when the run began, {now} now: it will not be the same to the last bit")
    return lines


def epoch_line(result: EpochResult) -> str:
    """Return an epoch in one line."""
    figures = [f"{words(name)} {format_metric(name, value, result.kinds)}" for name, value in result.metrics.items()]
    return "   ".join([f"epoch {result.epoch}/{result.epochs}", *figures, f"{result.seconds:.1f} s"])


def run_with_progress(
    plan: Plan,
    folder: Path,
    *,
    tensorboard: bool = False,
    resume: RunDir | None = None,
    checkpoint_every: float | None = None,
) -> RunResult:
    """Carry out a plan and show it as it goes on; with `torchrun`, together with the other ranks."""
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.engine.training.run import execute  # torch starts here, and nowhere sooner
    from zoo_core.store.store import Store

    with distributed_session() as world, Bars(shown=world.is_first) as bars:
        return execute(
            plan,
            store=Store.default(),
            out=folder,
            on_event=bars,
            tensorboard=tensorboard,
            world=world,
            resume=resume,
            checkpoint_every=checkpoint_every,
        )
