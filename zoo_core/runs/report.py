"""The report of a run: one page made from the files of its directory, so it can be made again at any time, anywhere."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from zoo_core.cards.trainers import RECIPE_FIELDS
from zoo_core.errors import DataError, printable
from zoo_core.images.issues import counted
from zoo_core.metrics import MetricKind, SplitCounts, by_folds, intervals, majority_of, metric_kind
from zoo_core.multi_label import MultiLabelTable
from zoo_core.predictions import PredictionTable
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.reference import ReferenceMetric
from zoo_core.results import KeptEpoch, format_interval, format_measured, format_metric, format_reference, words
from zoo_core.runs import charts
from zoo_core.runs.directory import RunDir
from zoo_core.runs.files import PREDICTIONS, TEST_PREDICTIONS
from zoo_core.runs.flatten import flatten
from zoo_core.terminal import percent

MOST_CONFUSED = 10  # pairs of classes that are listed
MANY_CLASSES = 12  # with more, a confusion matrix is drawn over the whole width and has no counts
OVER_CLASSES = ("validation_balanced_accuracy", "validation_macro_f1")
NOT_SETTINGS = ("name", "summary", "model", "dataset", "reference", "settings")  # of a recipe
ALWAYS_SHOWN = ("optimizer", "schedule", "augment", "loss", "weights", "seed")


def write_report(run: RunDir) -> Path:
    """Write report.html into a run's directory, and return its path.

    Raises:
        DataError: a file of the run is damaged.
    """
    return run.write_report(render(run))


def render(run: RunDir) -> str:
    """Return the page of a run, finished or not.

    Raises:
        DataError: a file of the run is damaged.
    """
    try:
        return _page(run).encode(errors="backslashreplace").decode()  # a lone surrogate cannot be encoded
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, UndefinedError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"cannot write a report of {run.path}: its files are damaged", why=why) from error


def _page(run: RunDir) -> str:
    templates = Environment(
        loader=PackageLoader("zoo_core", "runs/templates"), autoescape=True, undefined=StrictUndefined
    )
    templates.filters["printable"] = printable
    plan, environment = run.plan(), run.read_json("environment.json")
    return templates.get_template("report.html").render(
        **_heading(run, plan),
        **_measurements(run),
        **_evaluation(run, plan.recipe.split.folds),
        path=shlex.quote(printable(str(run.path))),
        plan=plan,
        training=_training(plan),
        settings=list(_settings(plan)),
        section=plan.recipe.reference.section if plan.recipe.reference else "",
        mistakes=list(_mistakes(run)),
        issues=list(_issues(run)),
        command=str(environment.pop("command", "")),
        environment=list(flatten(environment)),
    )


def _heading(run: RunDir, plan: Plan) -> dict[str, str]:
    """A recipe's summary is about its dataset: so a run on a folder of images gets another heading."""
    title, summary = f"{plan.recipe.name}, {run.path.resolve().name}", plan.recipe.summary
    if plan.data is not None:
        title = f"{plan.model.name} on {plan.data.name}"
        summary = f"{len(plan.classes):,} classes from {plan.data}"
    status, reason = run.outcome()
    labels = run.read_labels()
    heading = {"title": title, "summary": summary, "status": status, "reason": reason}
    heading |= {"name": labels.name, "tags": ", ".join(labels.tags), "note": " ".join(labels.note.split())}
    return {name: printable(text) for name, text in heading.items()}


def _training(plan: Plan) -> str:
    """Return how the model was trained, in one line, by the fields that the trainer uses."""
    recipe, used = plan.recipe, plan.trainer.uses
    parts = {
        "epochs": counted(recipe.epochs, "epoch"),
        "batch_size": f"batch size {recipe.batch_size}",
        "optimizer": f"{recipe.optimizer.name} with learning rate {recipe.optimizer.lr}",
        "seed": f"seed {recipe.seed}",
    }
    return ", ".join(text for field, text in parts.items() if field in used or field == "seed")


def _settings(plan: Plan) -> Iterator[tuple[str, str, bool]]:
    """Yield each hyper-parameter, its value, and whether it is worth seeing: most fields have their default."""
    unused = {field for field in RECIPE_FIELDS if field not in plan.trainer.uses}
    values = plan.recipe.model_dump(mode="json", exclude={*NOT_SETTINGS, *unused})
    for name, value in values.items():
        field = Recipe.model_fields[name]
        changed = field.is_required() or getattr(plan.recipe, name) != field.get_default()
        yield name, printable(_text(value)), changed or name in ALWAYS_SHOWN
    for name, value in plan.settings.items():
        yield f"settings.{name}", printable(_text(value)), True


def _text(value: object) -> str:
    """Return a field's value in one line: "adam lr=0.001" for an optimizer."""
    if isinstance(value, dict):
        inner = (f"{key}={_text(inner)}" for key, inner in value.items() if key != "name" and inner is not None)
        return " ".join([*filter(None, [value.get("name")]), *inner])
    if isinstance(value, list | tuple):
        return "; ".join(map(_text, value)) or "–"
    return "–" if value is None else str(value)


def _measurements(run: RunDir) -> dict[str, Any]:
    result, kinds, epochs = run.read_json("result.json"), run.read_metric_kinds(), run.read_metrics()
    metrics, splits = result.get("metrics", {}), read_splits(result)
    kept = KeptEpoch(**result["kept"]) if result.get("kept") else None
    best = kept.epoch if kept and kept.by else None
    return {
        "comparisons": [_comparison(entry, kinds) for entry in result.get("reference", ())],
        "metrics": [_metric(name, value, splits, kinds) for name, value in metrics.items()],
        "kept": replace(kept, stopped="").describe(metrics, kinds) if kept else "",  # the status says why it stopped
        "curves": list(_curves(epochs, kinds, best)),
        "splits": splits,
        "training_seconds": sum(epoch.get("seconds", 0.0) for epoch in epochs),
        "seconds": result.get("seconds"),
        "resumed": run.read("resumes.jsonl") is not None,
    }


def read_splits(result: Mapping[str, Any]) -> dict[str, SplitCounts]:
    """Return the images of each split from the fields of result.json; older runs have none."""
    return {
        name: SplitCounts(counts["images"], counts["classes"], counts["majority"] is None, counts.get("folds"))
        for name, counts in result.get("splits", {}).items()
    }


def _metric(
    name: str, value: float, splits: Mapping[str, SplitCounts], kinds: Mapping[str, MetricKind]
) -> tuple[str, str, str, str]:
    majority = majority_of(name, splits)
    return (
        words(name),
        format_metric(name, value, kinds),
        format_interval(intervals({name: value}, splits).get(name)),
        "" if majority is None else percent(majority),
    )


def _comparison(entry: Mapping[str, Any], kinds: Mapping[str, MetricKind]) -> tuple[str, str, str, str]:
    name, reference = entry["metric"], ReferenceMetric.model_validate(entry["reference"])
    verdict = entry.get("verdict") or ("match" if entry["passed"] else "no match")  # older runs have no verdict
    return (
        words(name),
        format_reference(name, reference, kinds),
        format_measured(name, entry["measured"], kinds),
        verdict,
    )


def _curves(epochs: list[dict[str, float]], kinds: Mapping[str, MetricKind], best: int | None) -> Iterator[str]:
    """Yield a chart of the losses, one of the fractions, and one of each other number."""
    names = [name for name in (epochs[0] if epochs else ()) if name not in ("epoch", "seconds")]
    lines = {name: [epoch[name] for epoch in epochs] for name in names}
    of_kind = {name: metric_kind(name, kinds) for name in names}
    losses = {words(name): lines[name] for name in names if of_kind[name] == "loss"}
    over_classes = {words(name): lines[name] for name in names if name in OVER_CLASSES}
    others = [name for name in names if of_kind[name] == "fraction" and name not in OVER_CLASSES]
    fractions = {words(name): lines[name] for name in others}
    if losses:
        yield charts.curves("loss" if len(losses) > 1 else next(iter(losses)), losses, best=best)
    for name in (name for name in names if of_kind[name] == "number" and len(epochs) > 1):
        yield charts.curves(words(name), {name: lines[name]}, best=best)
    if fractions:
        title = "metrics" if len(fractions) > 1 else next(iter(fractions))
        yield charts.curves(f"{title}, %", fractions, percent=True, best=best)
    if over_classes:
        yield charts.curves("means over classes, %", over_classes, percent=True, best=best)


def _evaluation(run: RunDir, folds: int | None) -> dict[str, Any]:
    split, found = _table(run)
    measured = f"on the {split} set" if folds is None or split == "test" else f"by {by_folds(folds)}"
    table, labels = (None, found) if isinstance(found, MultiLabelTable) else (found, None)
    many = table is not None and len(table.classes) > MANY_CLASSES
    return {
        "split": split,
        "measured": measured,
        "table": table,
        "labels": labels,
        "many_classes": many,
        "most_confused": table.most_confused(MOST_CONFUSED) if table else [],
        "interval": format_interval(table.accuracy_interval) if table else "",
        "confusion": charts.confusion(table.confusion, table.classes, counted=not many) if table else "",
        "calibration": charts.calibration(table.calibration) if table else "",
    }


def _table(run: RunDir) -> tuple[str, PredictionTable | MultiLabelTable | None]:
    test = run.read_predictions(TEST_PREDICTIONS)
    return ("test", test) if test is not None else ("validation", run.read_predictions(PREDICTIONS))


def _mistakes(run: RunDir) -> Iterator[dict[str, Any]]:
    """Yield the entries of mistakes.json with their pictures, which are found by number: no path in it is followed."""
    for number, mistake in enumerate(run.read_json("mistakes.json").get("mistakes", ())):
        pictures = (run.read(f"mistakes/{number}{suffix}.png") for suffix in ("", "-where"))
        image, overlay = (_data_uri(content) if content else None for content in pictures)
        yield {**mistake, "name": printable(mistake["name"]), "image": image, "overlay": overlay}


def _issues(run: RunDir) -> Iterator[dict[str, Any]]:
    for issue in run.read_json("audit.json").get("findings", ()):
        yield {"what": printable(issue["what"]), "paths": [printable(path) for path in issue["paths"]]}


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
