"""Several runs next to each other: all their metrics, and only the settings that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from zoo_core.results import format_metric, words
from zoo_core.runs.columns import duration, interval_text
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import ENVIRONMENT, differences
from zoo_core.runs.summary import RunSummary

CARDS = ("model", "dataset", "edition", "trainer", "weights", "components")  # parts of a plan that recipes name
SHOWN_AS = {"plan.recipe.name": "recipe", "plan.data": "data", "plan.device": "device", "result.status": "status"}


def compared_metrics(summaries: Sequence[RunSummary]) -> Iterator[tuple[str, ...]]:
    """Yield (name, text of each run) for every metric that any of the runs has."""
    names = dict.fromkeys(name for summary in summaries for name in summary.metrics)
    for name in names:
        values = [(summary.metrics.get(name), summary.kinds) for summary in summaries]
        yield words(name), *("" if value is None else format_metric(name, value, kinds) for value, kinds in values)
        if any(name == f"{summary.split}_accuracy" and interval_text(summary) for summary in summaries):
            mine = [summary if name == f"{summary.split}_accuracy" else None for summary in summaries]
            yield "  95 % interval, %", *("" if one is None else interval_text(one) for one in mine)
    yield "kept epoch", *("" if one.epoch is None else f"{one.epoch}/{one.planned_epochs}" for one in summaries)
    yield "duration of the epochs", *(duration(summary.seconds) for summary in summaries)


def changed_settings(runs: Sequence[RunDir]) -> Iterator[tuple[Any, ...]]:
    """Yield (setting, value of each run) for the settings and versions that are not equal in all runs.

    Settings have the names that `--set` takes. What a card contains is left out where the recipes name different cards.

    Raises:
        DataError: a file of a run is damaged.
    """
    rows = {str(field): values for field, *values in differences(*runs)}
    for field, values in rows.items():
        name = _setting(field, rows)
        if name is not None:
            yield name, *values


def _setting(field: str, changed: dict[str, Any]) -> str | None:
    if field in SHOWN_AS:
        return SHOWN_AS[field]
    document, _, name = field.partition(".")
    part, _, rest = name.partition(".")
    if document == "environment":
        return f"environment.{name}" if part in ENVIRONMENT else None
    if document != "plan":
        return None
    if part == "recipe":
        return None if rest.startswith(("summary", "reference", "settings.")) else rest
    if name.startswith("edition.examples."):
        return f"images.{name.removeprefix('edition.examples.')}"
    if part in CARDS or part == "classes":
        named = {"plan.recipe.model", "plan.recipe.dataset", "plan.recipe.trainer", "plan.recipe.weights", "plan.data"}
        return None if named & set(changed) else name
    return name
