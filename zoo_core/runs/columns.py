"""The columns of a list of runs: each has values to sort and filter by, and texts to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

from zoo_core.errors import UnknownName, printable
from zoo_core.metrics import SPLITS, TASK_METRICS, by_folds
from zoo_core.results import format_metric, words
from zoo_core.runs.summary import RunSummary

LONGEST_TEXT = 60  # characters of a note, or of a model's options, in a table; --csv and --json have all of it

SHARED = 20  # more than any rank


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    value: Callable[[RunSummary], Any]  # None or "": the run does not have it
    text: Callable[[RunSummary], str]
    rank: int = 0  # a table that does not fit the terminal has the columns with the lowest ranks
    right: bool = False  # aligned as numbers are

    def rank_among(self, summaries: Sequence[RunSummary]) -> int:
        """Return the rank in a table of these runs: a setting that all of them share is less important."""
        shared = len({self.text(summary) for summary in summaries}) == 1 and len(summaries) > 1
        return self.rank + (SHARED if shared and self.rank > 2 else 0)

    def spellings(self, summary: RunSummary) -> tuple[str, ...]:
        """Return the texts that a filter KEY=VALUE may name: of data, the path and the name alone."""
        value = self.value(summary)
        if isinstance(value, tuple):
            return tuple(map(str, value)) or ("",)
        whole, shown = "" if value is None else str(value), self.text(summary)
        if self.name != "data":
            return whole, shown
        return whole, _data_name(whole), PurePath(whole).stem, whole.rpartition(".")[0]


def table_columns(summaries: Sequence[RunSummary]) -> list[Column]:
    """Return the columns of the table of these runs, in order, without those that no run has."""
    known = [*_columns(_data_names(summaries)).values()]
    return [column for column in known if any(column.text(summary) for summary in summaries)] or known


def column(name: str, summaries: Sequence[RunSummary]) -> Column:
    """Return a column by its name: one of the table's, any other field of RunSummary, or a metric.

    A metric may be named without its split: "macro_f1" is "test_macro_f1" or, where a run has none,
    "validation_macro_f1".

    Raises:
        UnknownName: no run has it.
    """
    name = ALIASES.get(name, name)
    columns = _columns(_data_names(summaries))
    if name in columns:
        return columns[name]
    if name in FIELDS:
        return Column(name, lambda summary: getattr(summary, name), lambda summary: _plain(getattr(summary, name)))
    metrics = {metric for summary in summaries for metric in summary.metrics}
    if metrics & {name, *(f"{split}{name}" for split in SPLITS)}:
        return _metric_column(name)
    raise UnknownName("column", name, {*columns, *FIELDS, *metrics}, fix="zoo runs --help")


def duration(seconds: float) -> str:
    """Return seconds as people read them: 7.0 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def model_text(summary: RunSummary) -> str:
    """Return a model and the options that it was built with: "horses-net backbone=resnet18"."""
    options = (f"{key}={value}" for key, value in summary.options.items())
    return _short(" ".join((summary.model, *options)))


def interval_text(summary: RunSummary) -> str:
    """Return the 95 % interval of the accuracy in percent, such as "93.1–97.0"."""
    if summary.low is None or summary.high is None:
        return ""
    return f"{100 * summary.low:.1f}–{100 * summary.high:.1f}"


ALIASES = {"tag": "tags", "time": "duration", "path": "run"}
FIELDS = tuple(field.name for field in fields(RunSummary) if field.name not in ("kinds", "metrics"))


def _columns(data_names: dict[str, str]) -> dict[str, Column]:
    """Return the table's columns by name; `data_names` is how each dataset is shown."""
    columns = (
        Column("run", lambda s: str(s.run), lambda s: str(s.run)),
        Column("status", lambda s: s.status, _status_text, 4),
        Column("data", lambda s: s.data, lambda s: data_names.get(s.data, _data_name(s.data)), 5),
        Column("model", lambda s: s.model, model_text, 3),
        Column("recipe", lambda s: s.recipe, lambda s: s.recipe, 11),
        Column("trainer", lambda s: s.trainer, lambda s: s.trainer, 12),
        Column("weights", lambda s: s.weights, lambda s: s.weights, 13),
        Column("lr", lambda s: s.lr, lambda s: "" if s.lr is None else f"{s.lr:g}", 7, right=True),
        Column("seed", lambda s: s.seed, lambda s: "" if s.seed is None else str(s.seed), 10, right=True),
        Column("epoch", lambda s: s.epoch, _epoch_text, 6, right=True),
        Column("accuracy", lambda s: s.accuracy, _accuracy_text, 1, right=True),
        Column("interval", lambda s: s.low, interval_text, 2, right=True),
        Column("split", lambda s: s.split, _split_text, 9),
        Column("metric", _other_metric, _other_metric, 1, right=True),
        Column(
            "duration", lambda s: s.seconds or None, lambda s: duration(s.seconds) if s.epochs else "", 8, right=True
        ),
        Column("tags", lambda s: s.tags, lambda s: _short(", ".join(s.tags)), 6),
        Column("note", lambda s: s.note, lambda s: _short(s.note), 14),
    )
    return {column.name: column for column in columns}


def _metric_column(name: str) -> Column:
    def found(summary: RunSummary) -> tuple[str, float] | None:
        names = (name, *(f"{split}{name}" for split in reversed(SPLITS)))
        return next(((one, summary.metrics[one]) for one in names if one in summary.metrics), None)

    def value(summary: RunSummary) -> float | None:
        pair = found(summary)
        return None if pair is None else pair[1]

    def text(summary: RunSummary) -> str:
        pair = found(summary)
        return "" if pair is None else format_metric(*pair, summary.kinds)

    return Column(name, value, text, right=True)


def _status_text(summary: RunSummary) -> str:
    return "killed" if summary.reason.startswith("killed") else summary.status


def _epoch_text(summary: RunSummary) -> str:
    """Return the kept epoch of those that were planned; of a run that has no epoch yet, 0."""
    return f"{summary.epoch or 0}/{summary.planned_epochs}" if summary.planned_epochs else ""


def _split_text(summary: RunSummary) -> str:
    return summary.split if summary.folds is None else by_folds(summary.folds)


def _accuracy_text(summary: RunSummary) -> str:
    return "" if summary.accuracy is None else format_metric("accuracy", summary.accuracy)


def _other_metric(summary: RunSummary) -> str:
    """Return the main metric of a run without any accuracy: that of the task, otherwise the first."""
    if summary.accuracy is not None or not summary.metrics:
        return ""
    main = (f"{split}{TASK_METRICS['multi-label'][0]}" for split in reversed(SPLITS))
    name = next((name for name in main if name in summary.metrics), next(iter(summary.metrics)))
    return f"{words(name)} {format_metric(name, summary.metrics[name], summary.kinds)}"


def _data_name(data: str) -> str:
    return (
        PurePath(data).name if PurePath(data).is_absolute() else data
    )  # the user's own data is a path, a dataset is not


def _data_names(summaries: Iterable[RunSummary]) -> dict[str, str]:
    """Return how each dataset is shown: by its name, with as many of its folders as tell it from the others."""
    paths = sorted({summary.data for summary in summaries if summary.data})
    return {data: _short(_apart(data, [other for other in paths if other != data])) for data in paths}


def _apart(data: str, others: list[str]) -> str:
    if not PurePath(data).is_absolute():
        return data
    parts, theirs = PurePath(data).parts, [PurePath(other).parts for other in others]
    for depth in range(1, len(parts)):
        if not any(other[-depth:] == parts[-depth:] for other in theirs):
            return str(PurePath(*parts[-depth:]))
    return data


def _plain(value: Any) -> str:  # noqa: ANN401 - any plain value
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"
