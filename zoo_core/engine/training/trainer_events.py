"""Runs a trainer: checks what it yields, and reports what it refuses before a run's directory exists."""

from __future__ import annotations

import math
from collections.abc import Generator
from numbers import Real
from typing import Any

from zoo_core.cards.fields import resolve
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import Diverged, PluginError, UsageError
from zoo_core.events import Checkpoint, EpochResult, Event, Progress, TrainState


def trainer_events(job: Job, state: TrainState | None) -> Generator[Event, None, None]:
    """Yield the events of the job's trainer.

    Raises:
        PluginError: the trainer yields something else than Progress, EpochResult and Checkpoint, or a metric that is
            not a number.
        Diverged: a metric is NaN or infinite.
    """
    name = job.plan.trainer.name
    events: Any = resolve(job.plan.trainer.trainer)().fit(job, state)
    if not hasattr(events, "__iter__"):
        raise _invalid(name, f"fit returned {type(events).__name__}, not an iterator of events")
    try:
        for event in events:
            if not isinstance(event, (Progress, EpochResult, Checkpoint)):
                raise _invalid(name, f"fit yielded {type(event).__name__}, not Progress, EpochResult or Checkpoint")
            if isinstance(event, EpochResult):
                _check_metrics(event, job)
            yield event
    finally:
        if hasattr(events, "close"):  # a generator that was stopped early puts the model together again
            events.close()


def started(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Run a trainer up to its first event, and return all events.

    A UsageError is raised here, before anything is written. Other errors are raised when the first event is asked for,
    when the run's directory exists and can record them.

    Raises:
        UsageError: the trainer refuses the plan.
    """
    try:
        first = next(events)
    except StopIteration:
        return events
    except UsageError:
        raise
    except Exception as error:
        return _raising(error)
    return _continued(first, events)


def _continued(first: Event, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    yield first
    yield from events


def _raising(error: Exception) -> Generator[Event, None, None]:
    raise error
    yield


def _check_metrics(result: EpochResult, job: Job) -> None:
    for metric, value in result.metrics.items():
        if not isinstance(value, Real):
            raise _invalid(job.plan.trainer.name, f"the metric {metric!r} is a {type(value).__name__}, not a number")
        if not math.isfinite(value):
            lr = job.plan.recipe.optimizer.lr
            raise Diverged(
                f"{metric} is {value} after epoch {result.epoch}",
                why=f"training diverged at a learning rate of {lr:g}",
                fix=f"zoo run {job.plan.recipe.name} --lr {lr / 10:g}",
            )


def _invalid(trainer: str, why: str) -> PluginError:
    return PluginError(f"the trainer {trainer} is invalid", why=why, fix="zoo plugins doctor")
