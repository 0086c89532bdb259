"""Creates a run's directory or opens that of an unfinished run, and records how the run ended."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_core.engine.training.best_weights import BestWeights
from zoo_core.engine.training.checkpointing import METRICS, from_files
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import UsageError, ZooError
from zoo_core.events import EpochResult, OnEvent, Resumed, TrainState
from zoo_core.runs.checkpoints import LoadedCheckpoint
from zoo_core.runs.directory import RunDir
from zoo_core.runs.environment import environment
from zoo_core.runs.history import environment_diff
from zoo_core.runs.labels import RunLabels

INTERRUPTED = (KeyboardInterrupt, SystemExit)


@dataclass(frozen=True)
class ResumePoint:
    """Where a run starts: its state (None: from the beginning) and the epochs that are finished."""

    state: TrainState | None = None
    epochs: tuple[EpochResult, ...] = ()


def create_run_dir(job: Job, out: Path, labels: RunLabels) -> RunDir:
    """Create the run's directory; the other ranks learn where it is, and write nothing."""
    created = RunDir.create(out, job.plan, _run_environment(job), labels) if job.world.is_first else None
    path = job.world.broadcast(created.path if created else Path())
    return created or RunDir(path, writes=False)


def load_resume_point(run: RunDir, job: Job, best: BestWeights, on_event: OnEvent) -> ResumePoint:
    """Return the state of the newest intact checkpoint, and restore metrics.jsonl to what it was at that point.

    A checkpoint whose best epoch is not on disk, though the recipe keeps it, counts as damaged.

    The first rank reads, and broadcasts to the others.

    Raises:
        IntegrityError: a checkpoint is intact but does not contain a training state; or the run contains links.
        UsageError: it has finished.
    """
    if run.writes and run.status == "finished":  # in the meantime
        raise UsageError(f"{run.path} has finished", why="another process resumed it")
    run.refuse_links()

    def check(checkpoint: LoadedCheckpoint) -> None:
        best.require(run, _epochs(checkpoint.files, job))

    checkpoint, damaged = run.checkpoints.newest(check) if run.writes else (None, ())
    files = job.world.broadcast(dict(checkpoint.files) if checkpoint else {})
    state = from_files(files) if files else None
    changed = environment_diff(run.read_json("environment.json"), _run_environment(job)) if run.writes else {}
    run.mark_resumed(checkpoint.path.name if checkpoint else "", files.get(METRICS, b""), changed)
    epoch, step = (state.epoch, state.step) if state else (0, 0)
    on_event(Resumed(run.path, epoch, step, tuple(map(str, damaged)), changed))
    return ResumePoint(state, _epochs(files, job))


@contextmanager
def record_failure(run: RunDir) -> Iterator[None]:
    """Inside, an exception is recorded in the run's directory as the reason why the run ended."""
    try:
        yield
    except BaseException as error:
        with suppress(ZooError, OSError):  # report what ended the run, not that this could not be written
            run.write_result("interrupted" if isinstance(error, INTERRUPTED) else "failed", reason=_reason(error))
        raise


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    if isinstance(error, SystemExit):
        signals = {128 + number: number.name for number in (signal.SIGTERM, signal.SIGHUP)}
        return signals.get(error.code, "another process of this run ended") if isinstance(error.code, int) else ""
    return f"{type(error).__name__}: {error}"


def _run_environment(job: Job) -> dict[str, Any]:
    """Return what environment.json records about a run."""
    typed = Path(sys.argv[0]).name in ("zoo", "__main__.py")
    return {
        "command": shlex.join(["zoo", *sys.argv[1:]]) if typed else "",
        **environment(job.store),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # ATEN_CPU_CAPABILITY can lower it
        "gpu": torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else "",
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "precision": job.precision.name,
        "world_size": job.world.count,
    }


def _epochs(files: Mapping[str, bytes], job: Job) -> tuple[EpochResult, ...]:
    """Return the epochs that were finished at a checkpoint."""
    results = []
    for line in map(json.loads, files.get(METRICS, b"").splitlines()):
        number, seconds, kinds = int(line.pop("epoch")), line.pop("seconds"), line.pop("kinds", {})
        results.append(EpochResult(number, job.plan.recipe.epochs, line, seconds, kinds=kinds))
    return tuple(results)
