"""Runs a plan: downloads, builds, trains and evaluates, and writes a run directory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from zoo_core.data.splits import OpenedData, Splits, open_splits
from zoo_core.engine.compute.devices import pick_device
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, device_of
from zoo_core.engine.compute.memory import translate_oom
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.models.build import build_planned
from zoo_core.engine.models.weights import load_weights, pin_weights, save_tensors
from zoo_core.engine.training.best_weights import BestWeights, changed_tensors
from zoo_core.engine.training.checkpointing import CheckpointManager
from zoo_core.engine.training.finish import finish
from zoo_core.engine.training.interrupts import deferred_signals
from zoo_core.engine.training.resume import create_run_dir, load_resume_point, record_failure
from zoo_core.engine.training.single_run import single_run
from zoo_core.engine.training.tensorboard import need_tensorboard, on_board
from zoo_core.engine.training.trainer import Job
from zoo_core.engine.training.trainer_events import started, trainer_events
from zoo_core.events import Checkpoint, EpochResult, Event, OnEvent, drive, ignore_event, never_due
from zoo_core.multi_label import table_of
from zoo_core.recipes.plan import Plan
from zoo_core.registry.plugin_errors import attributed_to_plugins
from zoo_core.results import RunResult
from zoo_core.runs.directory import RunDir
from zoo_core.runs.labels import UNLABELED, RunLabels
from zoo_core.runs.report import write_report
from zoo_core.store.store import Store


def execute(
    plan: Plan,
    *,
    store: Store,
    out: Path = Path("runs"),
    on_event: OnEvent = ignore_event,
    tensorboard: bool = False,
    world: World = SINGLE_PROCESS,
    resume: RunDir | None = None,
    checkpoint_every: float | None = None,
    labels: RunLabels = UNLABELED,
) -> RunResult:
    """Train as a plan says, and save the results in a new directory below `out`, or in the unfinished run `resume`.

    Args:
        plan: from `Registry.plan`.
        store: where weights, data and features are cached.
        out: the folder for runs.
        on_event: called with every event.
        tensorboard: also write the metrics for TensorBoard.
        world: the processes that share the work; only the first one writes.
        resume: an unfinished run of this plan; it resumes from its newest intact checkpoint.
        checkpoint_every: seconds between two checkpoints; None: a minute, or longer where saving takes long.
        labels: the run's name, tags and note; a run that is resumed keeps its name, and gets the tags as well.

    Raises:
        UsageError: the plan is refused, before anything is written; or another run is in progress in this process.
        ZooError: of the kind of the failure; the run's directory records it and keeps what was measured before.
    """
    if tensorboard:
        need_tensorboard()
    began = perf_counter()
    with single_run(), _attributed(plan):
        plan = plan.model_copy(update={"weights": pin_weights(plan.model, plan.weights, store, on_event)})
        device = pick_device(device_of(plan.device))
        data = drive(open_splits(plan, store, on_event, world, resumed=resume is not None), on_event)
        job, base = prepare(data.plan, data.splits, store, device, on_event, world)
        best = BestWeights.of(job, base)
        training = _Training(job, data, base, best, on_event, checkpoint_every, labels, began)
        return training.start(out, tensorboard) if resume is None else training.resume(resume, tensorboard)


@dataclass(frozen=True)
class _Training:
    """A run that is ready to train: images are opened, the model is built, its weights are loaded."""

    job: Job
    data: OpenedData
    base: Mapping[str, Tensor]  # the weights the run starts from
    best: BestWeights
    on_event: OnEvent
    checkpoint_every: float | None
    labels: RunLabels
    began: float  # by perf_counter

    def start(self, out: Path, tensorboard: bool) -> RunResult:
        """Run up to the first event, then create a directory and run in it."""
        due = _Deferred()
        events = started(trainer_events(replace(self.job, due=due), None))
        run = create_run_dir(self.job, out, self.labels)
        with run.locked():
            return self._run(run, lambda: events, due, (), tensorboard)

    def resume(self, unfinished: RunDir, tensorboard: bool) -> RunResult:
        """Resume in the directory of an unfinished run."""
        run, due = RunDir(unfinished.path, writes=self.job.world.is_first), _Deferred()
        with run.locked():
            point = load_resume_point(run, self.job, self.best, self.on_event)
            if self.labels != UNLABELED:
                run.add_labels(self.labels)
            job = replace(self.job, due=due)
            return self._run(run, lambda: trainer_events(job, point.state), due, point.epochs, tensorboard)

    def _run(
        self,
        run: RunDir,
        new_events: Callable[[], Generator[Event, None, None]],
        due: _Deferred,
        finished: tuple[EpochResult, ...],
        tensorboard: bool,
    ) -> RunResult:
        job, plan, on_event = self.job, self.job.plan, self.on_event
        board = on_board(run, on_event) if tensorboard and run.writes else nullcontext(on_event)
        with record_failure(run), _attributed(plan), translate_oom(plan.recipe), board as observer:
            run.write_audit(self.data.issues, self.data.class_counts)
            epochs = _train(self.best, run, new_events, due, observer, list(finished), self.checkpoint_every)
            self.best.load(run, epochs)
            result = finish(job, self.data.splits, run, epochs, self.best.monitor, on_event)
            result = replace(result, seconds=perf_counter() - self.began)
            run.write_weights(save_tensors(changed_tensors(job.model, self.base)))
            run.write_finished(result)
        if run.writes:
            run.checkpoints.clear()
            run.best.clear()
            write_report(run)
        return result


class _Deferred:
    """A job's `due`, which asks for no checkpoint until there is a directory to save it in."""

    def __init__(self) -> None:
        self.due: Callable[[], bool] = never_due

    def __call__(self) -> bool:
        return self.due()


def _attributed(plan: Plan) -> AbstractContextManager[None]:
    components = (component.build for component in plan.components)
    references = (plan.trainer.trainer, plan.model.builder, plan.dataset.loader, *components)
    return attributed_to_plugins(*(reference for reference in references if reference is not None))


def prepare(
    plan: Plan, images: Splits, store: Store, device: torch.device, on_event: OnEvent, world: World
) -> tuple[Job, dict[str, Tensor]]:
    """Build a plan's model and load its weights: return the job, and the weights that it starts from.

    Raises:
        ZooError: the weights cannot be downloaded, or do not fit the model.
    """
    seed_torch(plan.recipe.seed, "build")
    model = build_planned(plan)
    base = load_weights(model, plan.selection, store, on_event=on_event)
    return Job(model, images["train"], images.get("validation"), plan, store, device, world), base


def _train(
    best: BestWeights,
    run: RunDir,
    new_events: Callable[[], Generator[Event, None, None]],
    due: _Deferred,
    on_event: OnEvent,
    epochs: list[EpochResult],
    checkpoint_every: float | None,
) -> list[EpochResult]:
    """Train, display and save what the trainer yields, and return the results of all epochs, the last with predictions.

    `epochs` are those that were finished before the run was resumed.
    """
    job, monitor = best.job, best.monitor
    with deferred_signals(second_ends=job.world.count == 1) as interrupt:
        manager = CheckpointManager(run, interrupt, interval=checkpoint_every, world=job.world)
        due.due = manager.due
        with closing(new_events()) as events:
            for event in events:
                on_event(event)
                if isinstance(event, EpochResult):
                    epochs[-1:] = [replace(last, predictions=None) for last in epochs[-1:]]  # they are large
                    epochs.append(event)
                    _record(best, run, epochs)
                    if monitor.patience is not None and job.world.broadcast(monitor.is_exhausted(epochs)):
                        break
                elif isinstance(event, Checkpoint):
                    saved = manager.save(event.state)
                    on_event(saved) if saved else None
                    best.forget_worse(run, epochs) if saved else None
                manager.end_if_interrupted(event)
        if interrupt.is_set:
            interrupt.end_run()
    return epochs


def _record(best: BestWeights, run: RunDir, epochs: list[EpochResult]) -> None:
    """Save the results of the epoch that has just ended, and its weights if they are the best so far."""
    result, plan = epochs[-1], best.job.plan
    best.monitor.check(result)
    best.save(run, epochs)
    run.record(result)
    if result.predictions is not None and best.monitor.kept(epochs) == len(epochs) - 1:
        run.write_predictions(table_of(result.predictions, plan.classes, plan.task))
