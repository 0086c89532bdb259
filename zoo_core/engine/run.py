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
from zoo_core.engine.allocator import enough_memory
from zoo_core.engine.build import build_model, load_weights, pinned, save_tensors
from zoo_core.engine.data import ImageSet
from zoo_core.engine.directory import Standing, ended_by, new_directory, where_it_stood
from zoo_core.engine.evaluate import evaluate
from zoo_core.engine.keeping import Keeper
from zoo_core.engine.mistakes import most_wrong
from zoo_core.engine.order import seed_torch
from zoo_core.engine.ranks import ALONE, Ranks, device_of
from zoo_core.engine.splits import Splits, open_splits
from zoo_core.engine.stop import noted
from zoo_core.engine.tensorboard import need_tensorboard, on_board
from zoo_core.engine.trainer import Job
from zoo_core.errors import Diverged, UsageError
from zoo_core.plans import Plan
from zoo_core.recipes import Recipe
from zoo_core.report import write_report
from zoo_core.results import (
    Checkpoint,
    EpochResult,
    Evaluation,
    Observe,
    Predictions,
    Progress,
    RunResult,
    compare,
    observed,
    unobserved,
)
from zoo_core.rundir import TEST_PREDICTIONS, RunDir
from zoo_core.sources import Watch
from zoo_core.store import Store


def execute(
    plan: Plan,
    *,
    store: Store,
    out: Path = Path("runs"),
    observe: Observe = unobserved,
    tensorboard: bool = False,
    ranks: Ranks = ALONE,
    resume: RunDir | None = None,
    checkpoint_every: float | None = None,
) -> RunResult:
    """Carry out a plan, and keep what came of it in a new directory below `out`, or go on in the one of `resume`.

    Args:
        plan: from `Registry.plan`.
        store: where weights, data and features are kept.
        out: the folder of runs.
        observe: is shown every event as it happens.
        tensorboard: write the metrics for TensorBoard too.
        ranks: the processes that share the work; the first alone writes.
        resume: a run of this plan that did not finish: it goes on from its newest checkpoint that is whole.
        checkpoint_every: seconds between two checkpoints; None: a minute, or more where saving takes long.

    Raises:
        ZooError: of the kind of what went wrong; the directory then says so, and keeps what was measured until then.
    """
    if tensorboard:
        need_tensorboard()
    plan = plan.model_copy(update={"weights": pinned(plan.model, plan.weights, store)})
    device = pick_device(device_of(plan.device))
    watch = _fetching(observe)
    images, findings = observed(open_splits(plan, store, watch), observe)
    job, base = _prepare(plan, images, store, device, watch, ranks)
    run = new_directory(job, out) if resume is None else RunDir(resume.path, writes=ranks.is_first)
    watched = on_board(run, observe) if tensorboard and run.writes else nullcontext(observe)
    with run.locked():
        begun = Standing() if resume is None else where_it_stood(run, job, observe)
        with ended_by(run), enough_memory(plan.recipe), watched as watching:
            run.write_audit(findings)
            epochs = _train(job, run, watching, begun, checkpoint_every)
            test = _test(job, images.get("test"), run, observe)
            metrics = _final(epochs, test, plan.recipe)
            run.write_weights(save_tensors(_made(job.model, base)))
            _show_mistakes(job, images, epochs, test, run)
            comparisons = compare(plan.recipe.documented, metrics)
            run.finish("finished", metrics=metrics, comparisons=comparisons)
        if run.writes:
            run.checkpoints.clear()
            write_report(run)
    return RunResult(run.path, metrics, comparisons, tuple(epoch.metrics for epoch in epochs))


def pick_device(name: str) -> torch.device:
    """Return the device of a name; "auto": the first GPU if there is one, else the CPU.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=name).item()  # "meta" is a device, but computes nothing
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise UsageError(f"there is no device {name!r} here", why=why, fix="--device auto") from error


def _prepare(
    plan: Plan, images: Splits, store: Store, device: torch.device, watch: Watch, ranks: Ranks
) -> tuple[Job, dict[str, Tensor]]:
    """Build the model and fetch its weights, before anything is written."""
    seed_torch(plan.recipe.seed, "build")
    model = build_model(plan.model, num_classes=len(plan.classes), options=plan.recipe.model_options)
    base = load_weights(model, plan.model, plan.weights, store, fresh_head=plan.fresh_head, watch=watch)
    return Job(model, images["train"], images.get("validation"), plan, store, device, ranks), base


def _fetching(observe: Observe) -> Watch:
    """Let downloads be observed like everything else."""
    return lambda done, total: observe(Progress("fetching", done, total, "B"))


def _train(job: Job, run: RunDir, observe: Observe, begun: Standing, every: float | None) -> list[EpochResult]:
    """Train, show and write what happens, and return the results of all epochs, also of those that were done before."""
    epochs = list(begun.epochs)
    trainer = resolve(job.plan.trainer.trainer)()
    with noted(again=job.ranks.count == 1) as stop:
        keeper = Keeper(run, stop, every=every, ranks=job.ranks)
        for event in trainer.fit(replace(job, due=keeper.due), begun.state):
            observe(event)
            if isinstance(event, EpochResult):
                epochs.append(event)
                run.record(event)
                if event.predictions is not None:
                    run.write_predictions(event.predictions, job.plan.classes)
            elif isinstance(event, Checkpoint):
                saved = keeper.keep(event.state)
                observe(saved) if saved else None
            keeper.end_if_asked(event)
        if stop.asked is not None:
            stop.now()
    return epochs


def _test(job: Job, images: ImageSet | None, run: RunDir, observe: Observe) -> Evaluation | None:
    """Touch the test images, once, where there are any."""
    if images is None:
        return None
    steps = evaluate(job.model, images, job.plan.input, job.device, arithmetic=job.arithmetic, ranks=job.ranks)
    evaluation = observed(steps, observe)
    run.write_predictions(evaluation.predictions, job.plan.classes, TEST_PREDICTIONS)
    return evaluation


def _final(epochs: list[EpochResult], test: Evaluation | None, recipe: Recipe) -> dict[str, float]:
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
    predictions = test.predictions if test else _of_the_last(epochs, job, run)
    if predictions is not None and run.writes:
        shown = images["test" if test else "validation"]
        run.write_mistakes(most_wrong(job.model, shown, job.plan.input, predictions, job.arithmetic))


def _of_the_last(epochs: list[EpochResult], job: Job, run: RunDir) -> Predictions | None:
    """Return the last epoch's predictions; a run that went on after it has them in predictions.csv alone."""
    if epochs and epochs[-1].predictions is not None:
        return epochs[-1].predictions
    _, rows = run.read_predictions() or ((), [])
    names, labels = tuple(row[0] for row in rows), tuple(job.plan.classes.index(row[1]) for row in rows)
    return Predictions(names, labels, tuple(tuple(map(float, row[3:])) for row in rows)) if rows else None


def _made(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that differ from the weights the run began with: what this run made."""
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if name not in base or not torch.equal(tensor, base[name])}
