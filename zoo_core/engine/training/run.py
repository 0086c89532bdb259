"""Carries out a plan: fetch, build, train, evaluate; and writes a run directory on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo_core.cards import resolve
from zoo_core.engine.compute.devices import pick_device
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, device_of
from zoo_core.engine.compute.memory import translate_oom
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.data.batches import labels_of
from zoo_core.engine.data.splits import Splits, open_splits
from zoo_core.engine.evaluation.evaluate import evaluate
from zoo_core.engine.explain.mistakes import worst_predictions
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.weights import load_weights, pin_weights, save_tensors
from zoo_core.engine.training.checkpointing import CheckpointManager
from zoo_core.engine.training.interrupts import deferred_signals
from zoo_core.engine.training.resume import ResumePoint, create_run_dir, load_resume_point, record_failure
from zoo_core.engine.training.tensorboard import need_tensorboard, on_board
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import Diverged
from zoo_core.events import Checkpoint, EpochResult, OnEvent, Predictions, drive, ignore_event
from zoo_core.images.image_sets import ImageSet
from zoo_core.predictions import PredictionTable
from zoo_core.recipes import Plan, Recipe
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
    """Carry out a plan, and keep what came of it in a new directory below `out`, or go on in the one of `resume`.

    Args:
        plan: from `Registry.plan`.
        store: where weights, data and features are kept.
        out: the folder of runs.
        on_event: is shown every event as it happens.
        tensorboard: write the metrics for TensorBoard too.
        ranks: the processes that share the work; the first alone writes.
        resume: a run of this plan that did not finish: it goes on from its newest checkpoint that is whole.
        checkpoint_every: seconds between two checkpoints; None: a minute, or more where saving takes long.

    Raises:
        ZooError: of the kind of what went wrong; the directory then says so, and keeps what was measured until then.
    """
    if tensorboard:
        need_tensorboard()
    plan = plan.model_copy(update={"weights": pin_weights(plan.model, plan.weights, store, on_event)})
    device = pick_device(device_of(plan.device))
    data = drive(open_splits(plan, store, on_event, world), on_event)
    plan, images = data.plan, data.splits
    job, base = _prepare(plan, images, store, device, on_event, world)
    run = create_run_dir(job, out) if resume is None else RunDir(resume.path, writes=world.is_first)
    watched = on_board(run, on_event) if tensorboard and run.writes else nullcontext(on_event)
    with run.locked():
        begun = ResumePoint() if resume is None else load_resume_point(run, job, on_event)
        with record_failure(run), translate_oom(plan.recipe), watched as watching:
            run.write_audit(data.issues)
            epochs = _train(job, run, watching, begun, checkpoint_every)
            test = _test(job, images.get("test"), run, on_event)
            metrics = _final_metrics(epochs, test, plan.recipe)
            run.write_weights(save_tensors(_changed_tensors(job.model, base)))
            _show_mistakes(job, images, epochs, test, run)
            comparisons = compare(
                plan.recipe.reference, metrics, _chance_levels(images) if plan.recipe.reference else {}
            )
            run.write_result("finished", metrics=metrics, comparisons=comparisons)
        if run.writes:
            run.checkpoints.clear()
            write_report(run)
    history = tuple({"epoch": epoch.epoch, **epoch.metrics} for epoch in epochs)
    return RunResult(run.path, metrics, comparisons, history, epochs[-1].kinds if epochs else {})


def _prepare(
    plan: Plan, images: Splits, store: Store, device: torch.device, on_event: OnEvent, world: World
) -> tuple[Job, dict[str, Tensor]]:
    """Build the model and fetch its weights, before anything is written."""
    seed_torch(plan.recipe.seed, "build")
    model = build_model(plan.model, num_classes=len(plan.classes), options=plan.recipe.model_options)
    base = load_weights(model, plan.selection, store, on_event=on_event)
    return Job(model, images["train"], images.get("validation"), plan, store, device, world), base


def _train(job: Job, run: RunDir, on_event: OnEvent, begun: ResumePoint, every: float | None) -> list[EpochResult]:
    """Train, show and write what happens, and return the results of all epochs, also of those that were done before."""
    epochs = list(begun.epochs)
    trainer = resolve(job.plan.trainer.trainer)()
    with deferred_signals(again=job.world.count == 1) as stop:
        keeper = CheckpointManager(run, stop, every=every, world=job.world)
        for event in trainer.fit(replace(job, due=keeper.due), begun.state):
            on_event(event)
            if isinstance(event, EpochResult):
                epochs.append(event)
                run.record(event)
                if event.predictions is not None:
                    run.write_predictions(PredictionTable.of(event.predictions, job.plan.classes, job.plan.task))
            elif isinstance(event, Checkpoint):
                saved = keeper.keep(event.state)
                on_event(saved) if saved else None
            keeper.end_if_asked(event)
        if stop.asked is not None:
            stop.now()
    return epochs


def _test(job: Job, images: ImageSet | None, run: RunDir, on_event: OnEvent) -> Evaluation | None:
    """Touch the test images, once, where there are any."""
    if images is None:
        return None
    steps = evaluate(job.model, images, job.plan.input, job.device, precision=job.precision, world=job.world)
    evaluation = drive(steps, on_event)
    run.write_predictions(evaluation.predictions, TEST_PREDICTIONS)
    return evaluation


def _final_metrics(epochs: list[EpochResult], test: Evaluation | None, recipe: Recipe) -> dict[str, float]:
    """Return the last epoch's metrics, and the test's.

    Raises:
        Diverged: the last step left what no measurement can be made with.
    """
    metrics = dict(epochs[-1].metrics) if epochs else {}
    if test is not None:
        metrics |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value}", why="training diverged", fix=f"zoo run {recipe.name} --lr SMALLER")
    return metrics


def _show_mistakes(job: Job, images: Splits, epochs: list[EpochResult], test: Evaluation | None, run: RunDir) -> None:
    """Keep pictures of what the model got most wrong, of the test images, else of the validation images."""
    predictions = test.predictions if test else _last_predictions(epochs, run)
    if predictions is not None and run.writes:
        shown = images["test" if test else "validation"]
        run.write_mistakes(worst_predictions(job.model, shown, job.plan.input, predictions, job.precision))


def _last_predictions(epochs: list[EpochResult], run: RunDir) -> Predictions | None:
    """Return the last epoch's predictions; a run that went on after it has them in predictions.csv alone."""
    if epochs and epochs[-1].predictions is not None:
        return epochs[-1].predictions
    return run.read_predictions()


def _chance_levels(images: Splits) -> dict[str, float]:
    """Return the accuracy that always predicting the most frequent class has on each split."""
    return {split: (labels_of(one).bincount().max() / len(one)).item() for split, one in images.items() if len(one)}


def _changed_tensors(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that differ from the weights the run began with: what this run made."""
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if name not in base or not torch.equal(tensor, base[name])}
