"""Makes a run's directory, or takes up that of a run which did not finish; and lets it say how the run ended."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_core.engine.training.checkpointing import METRICS, from_files
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import TERMINATED, UsageError, ZooError
from zoo_core.events import EpochResult, OnEvent, Resumed, TrainState
from zoo_core.runs.directory import RunDir
from zoo_core.runs.environment import environment
from zoo_core.runs.history import environment_diff

INTERRUPTED = (KeyboardInterrupt, SystemExit)


@dataclass(frozen=True)
class ResumePoint:
    """Where a run stands when it begins: its state (None: at the start), and the epochs that are done."""

    state: TrainState | None = None
    epochs: tuple[EpochResult, ...] = ()


def create_run_dir(job: Job, out: Path) -> RunDir:
    """Make the run's directory; the ranks behind the first are told where it is, and write nothing."""
    made = RunDir.create(out, job.plan, _run_environment(job)) if job.world.is_first else None
    path = job.world.broadcast(made.path if made else Path())
    return made or RunDir(path, writes=False)


def load_resume_point(run: RunDir, job: Job, on_event: OnEvent) -> ResumePoint:
    """Return where the newest checkpoint that is whole left the run, with metrics.jsonl put back to what it was then.

    The first rank reads, and tells the others.

    Raises:
        IntegrityError: a checkpoint is whole, but holds no state of training; or the run holds links.
        UsageError: it has finished.
    """
    if run.writes and run.status == "finished":  # while we made ready
        raise UsageError(f"{run.path} has finished", why="another process went on with it")
    run.refuse_links()
    kept, damaged = run.checkpoints.newest() if run.writes else (None, ())
    files = job.world.broadcast(dict(kept.files) if kept else {})
    state = from_files(files) if files else None
    changed = environment_diff(run.read_json("environment.json"), _run_environment(job)) if run.writes else {}
    run.mark_resumed(kept.path.name if kept else "", files.get(METRICS, b""), changed)
    epoch, step = (state.epoch, state.step) if state else (0, 0)
    on_event(Resumed(run.path, epoch, step, tuple(map(str, damaged)), changed))
    return ResumePoint(state, tuple(_epochs(files.get(METRICS, b""), job.plan.recipe.epochs)))


@contextmanager
def record_failure(run: RunDir) -> Iterator[None]:
    """Let the run's directory say what ended the run before its end."""
    try:
        yield
    except BaseException as error:
        with suppress(ZooError, OSError):  # what ended the run is to be told, not that this could not be written
            run.write_result("interrupted" if isinstance(error, INTERRUPTED) else "failed", reason=_reason(error))
        raise


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    if isinstance(error, SystemExit):
        return "SIGTERM" if error.code == TERMINATED else "another process of this run ended"
    return f"{type(error).__name__}: {error}"


def _run_environment(job: Job) -> dict[str, Any]:
    """Return what is told of where a run is carried out."""
    typed = Path(sys.argv[0]).name in ("zoo", "__main__.py")
    return {
        "command": shlex.join(["zoo", *sys.argv[1:]]) if typed else "",
        **environment(job.store),
        "device": str(job.device),
        "gpu": torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else "",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": job.precision.name,
        "world_size": job.world.count,
    }


def _epochs(lines: bytes, epochs: int) -> Iterator[EpochResult]:
    for line in map(json.loads, lines.splitlines()):
        number, seconds, kinds = int(line.pop("epoch")), line.pop("seconds"), line.pop("kinds", {})
        yield EpochResult(number, epochs, line, seconds, kinds=kinds)
