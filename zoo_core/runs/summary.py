"""One line of a list of runs: what was run, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo_core.errors import DataError
from zoo_core.metrics import MetricKind, wilson
from zoo_core.recipes.plan import Plan
from zoo_core.runs.directory import RunDir

ACCURACIES = ("test_accuracy", "validation_accuracy", "train_accuracy")  # the first of these that a run has is listed


@dataclass(frozen=True)
class RunSummary:
    """What was run and what came of it, as plain values: `pandas.DataFrame(zoo.list_runs())` is a table of them."""

    run: Path
    name: str  # of its directory
    status: str  # "running", "finished", "interrupted" (a killed run as well), "failed" or "damaged"
    reason: str = ""
    started: str = ""  # ISO 8601, UTC
    data: str = ""  # the dataset and its edition, or the path of the user's own
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)  # of the model's builder, as the recipe sets them
    recipe: str = ""
    trainer: str = ""
    weights: str = ""  # "none": random; otherwise as the recipe names them
    lr: float | None = None
    seed: int | None = None
    epoch: int | None = None  # the one whose weights were kept
    epochs: int = 0  # finished
    planned_epochs: int = 0
    accuracy: float | None = None  # a fraction of 1
    split: str = ""  # the images that the accuracy is of: "test", "validation" or "train"
    images: int | None = None  # how many they are
    folds: int | None = None  # of the cross-validation that they were validated by; None: they were held out
    low: float | None = None  # the 95 % interval of the accuracy; None for training images
    high: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, MetricKind] = field(default_factory=dict)  # of the trainer's own metrics
    seconds: float = 0.0  # all epochs together
    tags: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, run: RunDir) -> RunSummary:
        """Read a run's summary.

        Raises:
            DataError: a file of it is damaged.
        """
        with well_formed(run):
            plan, epochs, (status, reason), labels = run.plan(), run.read_metrics(), run.outcome(), run.read_labels()
            summary = cls(
                run=run.path,
                name=labels.name,
                status=status,
                reason=reason,
                started=_started(run),
                **_planned(plan),
                **_measured(run, plan, len(epochs)),
                epochs=len(epochs),
                kinds=run.read_metric_kinds(),
                seconds=sum(float(epoch.get("seconds", 0.0)) for epoch in epochs),
                tags=labels.tags,
                note=labels.note,
            )
            json.dumps(summary.to_dict(), allow_nan=False)  # raises ValueError
            return summary

    @classmethod
    def listed(cls, run: RunDir) -> RunSummary:
        """Read a run's summary for a list; a run that cannot be read is "damaged"."""
        try:
            return cls.of(run)
        except DataError as error:
            return cls(run.path, run.path.name, "damaged", reason=error.what, started=_started(run))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, without `kinds`."""
        record = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "kinds"}
        plain = {"run": str(self.run), "options": dict(self.options), "metrics": dict(self.metrics)}
        return {**record, **plain, "tags": list(self.tags)}


@contextmanager
def well_formed(run: RunDir) -> Iterator[None]:
    """Turn the exceptions that malformed files cause into a DataError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{run.path} is not a valid run directory", why=f"{error}") from error


def final_metrics(run: RunDir) -> dict[str, float]:
    """Return the metrics in result.json."""
    return {str(name): float(value) for name, value in run.read_json("result.json").get("metrics", {}).items()}


def _started(run: RunDir) -> str:
    return run.started.isoformat(timespec="seconds")


def _planned(plan: Plan) -> dict[str, Any]:
    recipe = plan.recipe
    return {
        "data": str(plan.data or f"{plan.dataset.name}.{plan.edition.name}"),
        "model": recipe.model,
        "options": dict(recipe.model_options),
        "recipe": recipe.name,
        "trainer": recipe.trainer,
        "weights": recipe.weights or "none",
        "lr": getattr(recipe.optimizer, "lr", None) if "optimizer" in plan.trainer.uses else None,
        "seed": recipe.seed,
        "planned_epochs": recipe.epochs,
    }


def _measured(run: RunDir, plan: Plan, epochs: int) -> dict[str, Any]:
    """Return the kept epoch, the metrics, and the accuracy with its interval; older runs kept their last epoch."""
    result, metrics = run.read_json("result.json"), final_metrics(run)
    measured = {"metrics": metrics, "epoch": result.get("kept", {}).get("epoch", epochs or None)}
    name = next((name for name in ACCURACIES if name in metrics), None)
    if name is None:
        return measured
    split, accuracy = name.removesuffix("_accuracy"), metrics[name]
    counted = {str(split): count for split, count in plan.edition.examples.items()}
    recorded = result.get("splits", {}).get(split, {})
    images = recorded.get("images", counted.get(split))
    interval = wilson(round(accuracy * images), images) if images and split != "train" else (None, None)
    low, high = result.get("intervals", {}).get(name, interval)
    of = {"split": split, "images": images, "folds": recorded.get("folds")}
    return {**measured, "accuracy": accuracy, **of, "low": low, "high": high}
