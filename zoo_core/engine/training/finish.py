"""What happens after the last epoch: the test images, the final metrics, the mistakes, the comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zoo_core.data.splits import Splits
from zoo_core.engine.data.batches import labels_of
from zoo_core.engine.evaluation.evaluate import evaluate
from zoo_core.engine.explain.mistakes import worst_predictions
from zoo_core.engine.training.monitor import Monitor
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import Diverged
from zoo_core.events import EpochResult, OnEvent, drive
from zoo_core.images.image_sets import ImageSet
from zoo_core.metrics import SplitCounts
from zoo_core.multi_label import DEFAULT_THRESHOLD, MultiLabelTable, table_of
from zoo_core.predictions import PredictionTable
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.recipe import Recipe
from zoo_core.results import Evaluation, KeptEpoch, RunResult, compare
from zoo_core.runs.directory import RunDir
from zoo_core.runs.files import TEST_PREDICTIONS


def finish(
    job: Job, images: Splits, run: RunDir, epochs: Sequence[EpochResult], monitor: Monitor, on_event: OnEvent
) -> RunResult:
    """Evaluate a trained model, whose weights are those of the epoch to keep, and return the run's result.

    Raises:
        Diverged: a metric is NaN or infinite.
    """
    recipe, kept = job.plan.recipe, monitor.outcome(epochs)
    if recipe.split.folds is not None:  # each was predicted without its fold
        images = {"train": images["train"], "validation": images["train"], **images}
    validation = _kept_predictions(job.plan, epochs, kept, run)
    test = _test(job, images.get("test"), run, _thresholds(job.plan, validation), on_event)
    metrics = _final_metrics(epochs, kept, test, recipe)
    _write_mistakes(job, images, validation, test, run)
    splits = count_images(images, multi_label=job.plan.task == "multi-label", folds=recipe.split.folds)
    chance = {split: counts.majority for split, counts in splits.items() if counts.majority is not None}
    comparisons = compare(recipe.reference, metrics, chance)
    history = tuple({"epoch": epoch.epoch, **epoch.metrics} for epoch in epochs)
    kinds = epochs[-1].kinds if epochs else {}
    return RunResult(run.path, metrics, comparisons, history, kinds, kept, splits)


def count_images(images: Splits, *, multi_label: bool = False, folds: int | None = None) -> dict[str, SplitCounts]:
    """Return the number of images of each class, by split; `folds` are those of the validation images, if any."""
    counted: dict[str, SplitCounts] = {}
    for split, image_set in images.items():
        labels, classes = labels_of(image_set), image_set.classes
        counts = labels.sum(dim=0) if multi_label else labels.bincount(minlength=len(classes))
        numbers = (int(count) for count in counts.tolist())
        by_class = dict(zip(classes, numbers, strict=True))
        counted[split] = SplitCounts(len(image_set), by_class, multi_label, folds if split == "validation" else None)
    return counted


def _kept_predictions(
    plan: Plan, epochs: Sequence[EpochResult], kept: KeptEpoch | None, run: RunDir
) -> PredictionTable | MultiLabelTable | None:
    """Return the kept epoch's predictions; those of an epoch that is no longer in memory are in predictions.csv."""
    if kept is not None and not kept.by and epochs[-1].predictions is not None:
        return table_of(epochs[-1].predictions, plan.classes, plan.task)
    return run.read_predictions()


def _thresholds(plan: Plan, validation: PredictionTable | MultiLabelTable | None) -> tuple[float, ...] | None:
    """Return the thresholds that the validation images of a multi-label run gave."""
    if plan.task == "single-label":
        return None
    chosen = validation.thresholds if isinstance(validation, MultiLabelTable) else ()
    return chosen or (DEFAULT_THRESHOLD,) * len(plan.classes)


def _test(
    job: Job, images: ImageSet | None, run: RunDir, thresholds: tuple[float, ...] | None, on_event: OnEvent
) -> Evaluation | None:
    """Evaluate on the test images once, if there are any."""
    if images is None:
        return None
    spec, device, precision = job.plan.input, job.device, job.precision
    steps = evaluate(job.model, images, spec, device, precision=precision, world=job.world, thresholds=thresholds)
    evaluation = drive(steps, on_event)
    run.write_predictions(evaluation.predictions, TEST_PREDICTIONS)
    return evaluation


def _final_metrics(
    epochs: Sequence[EpochResult], kept: KeptEpoch | None, test: Evaluation | None, recipe: Recipe
) -> dict[str, float]:
    """Return the metrics of the epoch that is kept, and of the test images.

    Raises:
        Diverged: one is NaN or infinite.
    """
    metrics = dict(next(epoch.metrics for epoch in epochs if epoch.epoch == kept.epoch)) if kept else {}
    if test is not None:
        metrics |= {
            "test_loss": test.loss,
            **{f"test_{name}": value for name, value in test.predictions.metrics.items()},
        }
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(
                f"{name} is {value}",
                why="training diverged",
                fix=f"zoo run {recipe.name} --lr {recipe.optimizer.lr / 10:g}",
            )
    return metrics


def _write_mistakes(
    job: Job,
    images: Splits,
    validation: PredictionTable | MultiLabelTable | None,
    test: Evaluation | None,
    run: RunDir,
) -> None:
    """Save the images with the worst predictions, of the test images or else of the validation images."""
    predictions = test.predictions if test else validation
    if predictions is not None and run.writes:
        shown = images["test" if test else "validation"]
        run.write_mistakes(worst_predictions(job.model, shown, job.plan.input, predictions, job.precision))
