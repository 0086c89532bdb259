"""Runs a plan: downloads, builds, trains and evaluates, and writes a run directory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo_core.engine.compute.devices import pick_device
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, device_of
from zoo_core.engine.compute.memory import translate_oom
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.data.batches import labels_of
from zoo_core.engine.data.splits import Splits, open_splits
from zoo_core.engine.evaluation.evaluate import evaluate
from zoo_core.engine.explain.mistakes import worst_predictions
from zoo_core.engine.models.build import build_planned
from zoo_core.engine.models.weights import load_weights, pin_weights, save_tensors
from zoo_core.engine.training.checkpointing import CheckpointManager
from zoo_core.engine.training.interrupts import deferred_signals
from zoo_core.engine.training.resume import create_run_dir, load_resume_point, record_failure
from zoo_core.engine.training.single_run import single_run
from zoo_core.engine.training.tensorboard import need_tensorboard, on_board
from zoo_core.engine.training.trainer import Job
from zoo_core.engine.training.trainer_events import started, trainer_events
from zoo_core.errors import Diverged
from zoo_core.events import Checkpoint, EpochResult, Event, OnEvent, drive, ignore_event, never_due
from zoo_core.images.image_sets import ImageSet
from zoo_core.images.issues import DataIssue
from zoo_core.multi_label import DEFAULT_THRESHOLD, MultiLabelTable, table_of
from zoo_core.predictions import PredictionTable
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.recipe import Recipe
from zoo_core.registry.plugin_errors import attributed_to_plugins
from zoo_core.results import Evaluation, RunResult, compare
from zoo_core.runs.directory import RunDir
from zoo_core.runs.files import TEST_PREDICTIONS
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

    Raises:
        UsageError: the plan is refused, before anything is written; or another run is in progress in this process.
        ZooError: of the kind of the failure; the run's directory records it and keeps what was measured before.
    """
    if tensorboard:
        need_tensorboard()
    with single_run(), _attributed(plan):
        plan = plan.model_copy(update={"weights": pin_weights(plan.model, plan.weights, store, on_event)})
        device = pick_device(device_of(plan.device))
        data = drive(open_splits(plan, store, on_event, world), on_event)
        job, base = _prepare(data.plan, data.splits, store, device, on_event, world)
        training = _Training(job, data.splits, base, data.issues, on_event, checkpoint_every)
        return training.start(out, tensorboard) if resume is None else training.resume(resume, tensorboard)


@dataclass(frozen=True)
class _Training:
    """A run that is ready to train: images are opened, the model is built, its weights are loaded."""

    job: Job
    images: Splits
    base: Mapping[str, Tensor]  # the weights the run starts from
    issues: tuple[DataIssue, ...]
    on_event: OnEvent
    checkpoint_every: float | None

    def start(self, out: Path, tensorboard: bool) -> RunResult:
        """Run up to the first event, then create a directory and run in it."""
        due = _Deferred()
        events = started(trainer_events(replace(self.job, due=due), None))
        run = create_run_dir(self.job, out)
        with run.locked():
            return self._run(run, lambda: events, due, (), tensorboard)

    def resume(self, unfinished: RunDir, tensorboard: bool) -> RunResult:
        """Resume in the directory of an unfinished run."""
        run, due = RunDir(unfinished.path, writes=self.job.world.is_first), _Deferred()
        with run.locked():
            point = load_resume_point(run, self.job, self.on_event)
            job = replace(self.job, due=due)
            return self._run(run, lambda: trainer_events(job, point.state), due, point.epochs, tensorboard)

    def _run(
        self,
        run: RunDir,
        new_events: Callable[[], Iterator[Event]],
        due: _Deferred,
        finished: tuple[EpochResult, ...],
        tensorboard: bool,
    ) -> RunResult:
        job, plan, on_event = self.job, self.job.plan, self.on_event
        board = on_board(run, on_event) if tensorboard and run.writes else nullcontext(on_event)
        with record_failure(run), _attributed(plan), translate_oom(plan.recipe), board as observer:
            run.write_audit(self.issues)
            epochs = _train(job, run, new_events(), due, observer, list(finished), self.checkpoint_every)
            thresholds = _chosen_thresholds(job, epochs, run)
            test = _test(job, self.images.get("test"), run, thresholds, on_event)
            metrics = _final_metrics(epochs, test, plan.recipe)
            run.write_weights(save_tensors(_changed_tensors(job.model, self.base)))
            _write_mistakes(job, self.images, epochs, test, run)
            chance = _chance_levels(self.images) if plan.recipe.reference else {}
            comparisons = compare(plan.recipe.reference, metrics, chance)
            run.write_result("finished", metrics=metrics, comparisons=comparisons)
        if run.writes:
            run.checkpoints.clear()
            write_report(run)
        history = tuple({"epoch": epoch.epoch, **epoch.metrics} for epoch in epochs)
        return RunResult(run.path, metrics, comparisons, history, epochs[-1].kinds if epochs else {})


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


def _prepare(
    plan: Plan, images: Splits, store: Store, device: torch.device, on_event: OnEvent, world: World
) -> tuple[Job, dict[str, Tensor]]:
    """Build the model and download its weights, before anything is written."""
    seed_torch(plan.recipe.seed, "build")
    model = build_planned(plan)
    base = load_weights(model, plan.selection, store, on_event=on_event)
    return Job(model, images["train"], images.get("validation"), plan, store, device, world), base


def _train(
    job: Job,
    run: RunDir,
    events: Iterator[Event],
    due: _Deferred,
    on_event: OnEvent,
    epochs: list[EpochResult],
    checkpoint_every: float | None,
) -> list[EpochResult]:
    """Train, display and save what the trainer yields, and return the results of all epochs, the last with predictions.

    `epochs` are those that were finished before the run was resumed.
    """
    with deferred_signals(second_ends=job.world.count == 1) as interrupt:
        manager = CheckpointManager(run, interrupt, interval=checkpoint_every, world=job.world)
        due.due = manager.due
        for event in events:
            on_event(event)
            if isinstance(event, EpochResult):
                epochs[-1:] = [replace(last, predictions=None) for last in epochs[-1:]]  # they are large
                epochs.append(event)
                run.record(event)
                if event.predictions is not None:
                    run.write_predictions(table_of(event.predictions, job.plan.classes, job.plan.task))
            elif isinstance(event, Checkpoint):
                saved = manager.save(event.state)
                on_event(saved) if saved else None
            manager.end_if_interrupted(event)
        if interrupt.is_set:
            interrupt.end_run()
    return epochs


def _chosen_thresholds(job: Job, epochs: list[EpochResult], run: RunDir) -> tuple[float, ...] | None:
    """Return the thresholds that the validation images of a multi-label run gave; every rank computes the same."""
    if job.plan.task == "single-label":
        return None
    table = _last_predictions(job.plan, epochs, run)
    return table.thresholds if isinstance(table, MultiLabelTable) else (DEFAULT_THRESHOLD,) * len(job.plan.classes)


def _test(
    job: Job, images: ImageSet | None, run: RunDir, thresholds: tuple[float, ...] | None, on_event: OnEvent
) -> Evaluation | None:
    """Evaluate on the test images once, if there are any."""
    if images is None:
        return None
    steps = evaluate(
        job.model,
        images,
        job.plan.input,
        job.device,
        precision=job.precision,
        world=job.world,
        thresholds=thresholds,
    )
    evaluation = drive(steps, on_event)
    run.write_predictions(evaluation.predictions, TEST_PREDICTIONS)
    return evaluation


def _final_metrics(epochs: list[EpochResult], test: Evaluation | None, recipe: Recipe) -> dict[str, float]:
    """Return the metrics of the last epoch and of the test images.

    Raises:
        Diverged: one is NaN or infinite.
    """
    metrics = dict(epochs[-1].metrics) if epochs else {}
    if test is not None:
        metrics |= {"test_loss": test.loss, **{f"test_{name}": value for name, value in test.metrics.items()}}
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(
                f"{name} is {value}",
                why="training diverged",
                fix=f"zoo run {recipe.name} --lr {recipe.optimizer.lr / 10:g}",
            )
    return metrics


def _write_mistakes(job: Job, images: Splits, epochs: list[EpochResult], test: Evaluation | None, run: RunDir) -> None:
    """Save the images with the worst predictions, of the test images or else of the validation images."""
    predictions = test.predictions if test else _last_predictions(job.plan, epochs, run)
    if predictions is not None and run.writes:
        shown = images["test" if test else "validation"]
        run.write_mistakes(worst_predictions(job.model, shown, job.plan.input, predictions, job.precision))


def _last_predictions(plan: Plan, epochs: list[EpochResult], run: RunDir) -> PredictionTable | MultiLabelTable | None:
    """Return the last epoch's predictions; those of an epoch before a resume are only in predictions.csv."""
    if epochs and epochs[-1].predictions is not None:
        return table_of(epochs[-1].predictions, plan.classes, plan.task)
    return run.read_predictions()


def _chance_levels(images: Splits) -> dict[str, float]:
    """Return the accuracy that always predicting the most frequent class has on each split of single-label images."""
    labels = {split: labels_of(image_set) for split, image_set in images.items() if len(image_set)}
    return {split: (each.bincount().max() / len(each)).item() for split, each in labels.items() if each.ndim == 1}


def _changed_tensors(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that differ from the weights the run started from."""
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if name not in base or not torch.equal(tensor, base[name])}
