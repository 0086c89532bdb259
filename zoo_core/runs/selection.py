"""Sorts and filters summaries of runs by any of their columns, and writes them as CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import ge, gt, le, lt
from typing import Any, Self

from zoo_core.disk.csv_cells import csv_cell
from zoo_core.errors import UsageError
from zoo_core.runs.columns import Column, column
from zoo_core.runs.summary import RunSummary

EXAMPLES = "such as data=photos, tag=paper, status=finished, accuracy>0.9 or lr<=1e-3"
ORDERS = {">=": ge, "<=": le, ">": gt, "<": lt}


@dataclass(frozen=True)
class Filter:
    """A condition on one column, such as accuracy>0.9."""

    key: str
    sign: str  # =, !=, >, >=, < or <=
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a filter as it is typed.

        Raises:
            UsageError: it is not KEY, a sign and VALUE.
        """
        found = re.fullmatch(r"\s*([\w.-]+)\s*(>=|<=|!=|==|=|>|<)\s*(.*?)\s*", text, re.S)
        if found is None:
            why = f"write a column, one of = != > >= < <= and a value, {EXAMPLES}"
            raise UsageError(f"--filter {text} is not KEY=VALUE", why=why, fix="zoo runs --filter status=finished")
        key, sign, value = found.groups()
        return cls(key, "=" if sign == "==" else sign, value)

    def holds(self, summary: RunSummary, of: Column) -> bool:
        """Whether a run satisfies the filter. A missing value equals nothing but the empty one, and has no order."""
        if self.sign == "=":
            return self._equals(summary, of)
        if self.sign == "!=":
            return not self._equals(summary, of)
        value = of.value(summary)
        if value is None or value == "":
            return False
        if isinstance(value, (int, float)):
            return bool(ORDERS[self.sign](value, self._required_number()))
        if of.name == "started":  # ISO times have the order of their texts
            return bool(ORDERS[self.sign](value, self.value))
        raise UsageError(f"{self.key} is not a number", why=f"{self.sign} compares numbers, = compares texts")

    def _equals(self, summary: RunSummary, of: Column) -> bool:
        value, number = of.value(summary), self._number()
        if isinstance(value, (int, float)) and number is not None:
            return value == number
        pattern = self.value.lower()
        return any(fnmatchcase(text.lower(), pattern) or text.lower() == pattern for text in of.spellings(summary))

    def _number(self) -> float | None:
        try:
            return float(self.value.removesuffix("%")) / (100 if self.value.endswith("%") else 1)
        except ValueError:
            return None

    def _required_number(self) -> float:
        number = self._number()
        if number is None:
            raise UsageError(
                f"{self.value!r} is not a number", why=f"{self.key} is one: write {self.key}{self.sign}0.9"
            )
        return number


def selected(
    summaries: Sequence[RunSummary], *, filters: Iterable[Filter] = (), sort: str = "", limit: int | None = None
) -> list[RunSummary]:
    """Return the runs that satisfy every filter, sorted by a column ("-accuracy": the largest first).

    Runs without a value come last in both directions. `limit` keeps the first runs of a sorted list, and the newest of
    one that is not sorted.

    Raises:
        UnknownName: there is no such column.
        UsageError: a filter compares a text as a number.
    """
    kept = list(summaries)
    for one in filters:
        of = column(one.key, summaries)
        kept = [summary for summary in kept if one.holds(summary, of)]
    if not sort:
        return kept if limit is None else kept[-limit:]
    value = column(sort.removeprefix("-"), summaries).value
    missing = [summary for summary in kept if value(summary) in (None, "", ())]
    present = [summary for summary in kept if value(summary) not in (None, "", ())]
    ordered = sorted(present, key=lambda summary: _sortable(value(summary)), reverse=sort.startswith("-"))
    return [*ordered, *missing][:limit]


def to_csv(summaries: Sequence[RunSummary], columns: Sequence[Column] = ()) -> str:
    """Return the runs as CSV: these columns, or else every field, with one column for each metric.

    Numbers are exact. A text that a spreadsheet would evaluate as a formula is written with an apostrophe before it.
    """
    rows: list[dict[str, Any]]
    if columns:
        rows = [{one.name: one.value(summary) for one in columns} for summary in summaries]
        header = [one.name for one in columns]
    else:
        rows = [_record(summary) for summary in summaries]
        fields = RunSummary.__dataclass_fields__
        plain = [name for name in fields if name not in ("metrics", "kinds")]
        header = [*plain, *dict.fromkeys(name for row in rows for name in row if name not in plain)]
    lines: list[list[Any]] = [list(header), *([row.get(name) for name in header] for row in rows)]
    return "".join(",".join(map(_cell, line)) + "\n" for line in lines)


def _record(summary: RunSummary) -> dict[str, Any]:
    record = summary.to_dict()
    metrics: dict[str, Any] = record.pop("metrics")
    return record | metrics


def _cell(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    if isinstance(value, dict):
        return csv_cell(json.dumps(value) if value else "")
    if isinstance(value, (list, tuple)):
        return csv_cell(",".join(map(str, value)))
    return csv_cell("" if value is None else str(value))


def _sortable(value: Any) -> tuple[bool, Any]:  # noqa: ANN401 - any plain value
    """Return a key that orders numbers before texts, and texts without regard to case."""
    if isinstance(value, (int, float)):
        return False, value
    return True, str(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value).lower()
