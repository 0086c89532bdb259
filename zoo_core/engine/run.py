"""Carries out a plan: fetch, build, train, evaluate; and writes a run directory on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo_core.cards import resolve
from zoo_core.engine.allocator import freed_memory_kept
from zoo_core.engine.build import build_model, load_weights, pinned, save_tensors
from zoo_core.engine.data import ImageSet
from zoo_core.engine.evaluate import evaluate
from zoo_core.engine.order import seed_torch
from zoo_core.engine.ranks import ALONE, Ranks, device_of
from zoo_core.engine.splits import Splits, open_splits
from zoo_core.engine.trainer import Job
from zoo_core.environment import environment
from zoo_core.errors import Diverged, UsageError
from zoo_core.plans import Plan
from zoo_core.recipes import Recipe
from zoo_core.results import EpochResult, Observe, Predictions, Progress, RunResult, compare, observed, unobserved
from zoo_core.rundir import RunDir
from zoo_core.sources import Watch
from zoo_core.store import Store


def execute(
    plan: Plan,
    *,
    store: Store,
    out: Path = Path("runs"),
    observe: Observe = unobserved,
    ranks: Ranks = ALONE,
) -> RunResult:
    """Carry out a plan, and keep what came of it in a new directory below `out`.

    Args:
        plan: from `Registry.plan`.
        store: where weights, data and features are kept.
        out: the folder of runs.
        observe: is shown every event as it happens.
        ranks: the processes that share the work; the first alone writes.

    Raises:
        ZooError: of the kind of what went wrong; the directory then says so, and keeps what was measured until then.
    """
    plan = plan.model_copy(update={"weights": pinned(plan.model, plan.weights, store)})
    device = pick_device(device_of(plan.device))
    watch = _fetching(observe)
    images, findings = observed(open_splits(plan, store, watch), observe)
    job, base = _prepare(plan, images, store, device, watch, ranks)
    run = _directory(job, out)
    run.write_audit(findings)
    try:
        with freed_memory_kept():
            history = _train(job, run, observe)
            metrics = {**(history[-1] if history else {}), **_test(job, images.get("test"), observe)}
        _all_finite(metrics, plan.recipe)
        run.write_weights(save_tensors(_made(job.model, base)))
    except (KeyboardInterrupt, SystemExit) as error:
        run.finish("interrupted", reason="Ctrl-C" if isinstance(error, KeyboardInterrupt) else "SIGTERM")
        raise
    except BaseException as error:
        run.finish("failed", reason=f"{type(error).__name__}: {error}")
        raise
    comparisons = compare(plan.recipe.documented, metrics)
    run.finish("finished", metrics=metrics, comparisons=comparisons)
    return RunResult(run.path, metrics, comparisons, history)


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


def _directory(job: Job, out: Path) -> RunDir:
    """Make the run's directory; the ranks behind the first are told where it is, and write nothing."""
    told = {
        **environment(job.store),
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "arithmetic": job.arithmetic.name,
        "ranks": job.ranks.count,
    }
    made = RunDir.create(out, job.plan, told) if job.ranks.is_first else None
    path = job.ranks.told(made.path if made else Path())
    return made or RunDir(path, writes=False)


def _fetching(observe: Observe) -> Watch:
    """Let downloads be observed like everything else."""
    return lambda done, total: observe(Progress("fetching", done, total))


def _train(job: Job, run: RunDir, observe: Observe) -> tuple[Mapping[str, float], ...]:
    """Let the trainer train; record each epoch; return the metrics of each."""
    history: list[Mapping[str, float]] = []
    for event in resolve(job.plan.trainer.trainer)().fit(job, None):
        observe(event)
        if isinstance(event, EpochResult):
            history.append(event.metrics)
            run.record(event)
            _write_predictions(event.predictions, job, run)
    return tuple(history)


def _all_finite(metrics: Mapping[str, float], recipe: Recipe) -> None:
    """Raise Diverged where the last step left what no measurement can be made with."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value}", why="training diverged", fix=f"zoo run {recipe.name} --lr SMALLER")


def _write_predictions(predictions: Predictions | None, job: Job, run: RunDir) -> None:
    if predictions is not None:
        run.write_predictions(predictions, job.plan.classes)


def _test(job: Job, images: ImageSet | None, observe: Observe) -> dict[str, float]:
    """Touch the test images, once, where there are any."""
    if images is None:
        return {}
    steps = evaluate(job.model, images, job.plan.input, job.device, arithmetic=job.arithmetic, ranks=job.ranks)
    evaluation = observed(steps, observe)
    return {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy}


def _made(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that differ from the weights the run began with: what this run made."""
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if name not in base or not torch.equal(tensor, base[name])}
