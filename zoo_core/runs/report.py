"""A page made from a run directory: it reads files alone, so it can be made again at any time, anywhere."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from zoo_core.errors import DataError, printable
from zoo_core.recipes import ReferenceMetric
from zoo_core.results import ClassResult, format_measured, format_metric, format_reference, words
from zoo_core.runs import charts
from zoo_core.runs.directory import PREDICTIONS, TEST_PREDICTIONS, RunDir

BINS = 10  # of the probabilities, for calibration


@dataclass(frozen=True)
class Judged:
    """What a table of predictions comes to. A row is an image: name, label, predicted, and each class's probability."""

    what: str  # "validation" or "test"
    names: tuple[str, ...]  # of the classes
    rows: Sequence[Sequence[str]]

    @property
    def images(self) -> int:
        """How many."""
        return len(self.rows)

    @cached_property
    def accuracy(self) -> float:
        """A fraction of 1."""
        return sum(row[1] == row[2] for row in self.rows) / max(1, len(self.rows))

    @cached_property
    def confusion(self) -> list[list[int]]:
        """What it is (rows) and was called (columns)."""
        place = {name: index for index, name in enumerate(self.names)}
        counts = [[0] * len(self.names) for _ in self.names]
        for row in self.rows:
            counts[place[row[1]]][place[row[2]]] += 1
        return counts

    @property
    def classes(self) -> Iterator[ClassResult]:
        """How each class fared."""
        for index, name in enumerate(self.names):
            right, is_it = self.confusion[index][index], sum(self.confusion[index])
            called = sum(row[index] for row in self.confusion)
            precision, recall = (right / count if count else None for count in (called, is_it))
            yield ClassResult(name, is_it, precision, recall)

    @cached_property
    def bins(self) -> list[tuple[float, float, int]]:
        """(mean confidence, accuracy, images) of each bin that has any, by the probability of the predicted class."""
        sure = [(max(map(float, row[3:])), row[1] == row[2]) for row in self.rows]
        found = []
        for _, group in itertools.groupby(sorted(sure), key=lambda one: min(BINS - 1, int(one[0] * BINS))):
            members = list(group)
            count = len(members)
            found.append((sum(s for s, _ in members) / count, sum(right for _, right in members) / count, count))
        return found

    @property
    def calibration_error(self) -> float:
        """The mean distance of confidence and accuracy over the images: the expected calibration error."""
        return sum(abs(sure - right) * count for sure, right, count in self.bins) / max(1, len(self.rows))


def write_report(run: RunDir) -> Path:
    """Write report.html into a run's directory, and return its path.

    Raises:
        DataError: a file of the run is damaged.
    """
    return run.write_report(render(run))


def render(run: RunDir) -> str:
    """Return the page of a run, finished or not, from what its directory holds.

    Raises:
        DataError: a file of the run is damaged.
    """
    try:
        return _rendered(run).encode(errors="backslashreplace").decode()  # half a character is no text
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, UndefinedError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"no report can be made of {run.path}: its files are damaged", why=why) from error


def _rendered(run: RunDir) -> str:
    environment = Environment(
        loader=PackageLoader("zoo_core", "runs/templates"), autoescape=True, undefined=StrictUndefined
    )
    plan, result, told = run.plan(), run.read_json("result.json"), run.read_json("environment.json")
    judged = _judged(run)
    return environment.get_template("report.html").render(
        title=f"{plan.recipe.name}, {run.path.resolve().name}",
        summary=plan.recipe.summary,
        path=run.path,
        plan=plan,
        status=result.get("status", "unknown"),
        reason=result.get("reason", ""),
        documented=[_documented(one) for one in result.get("reference", ())],
        section=plan.recipe.reference.section if plan.recipe.reference else "",
        metrics=[(words(name), format_metric(name, value)) for name, value in result.get("metrics", {}).items()],
        curves=list(_curves(run.read_metrics())),
        judged=judged,
        confusion=charts.confusion(judged.confusion, judged.names) if judged else "",
        calibration=charts.calibration(judged.bins) if judged else "",
        mistakes=list(_mistakes(run)),
        findings=list(_findings(run)),
        environment={"command": "", **told},
        told=list(_flat(told)),
    )


def _judged(run: RunDir) -> Judged | None:
    for what, name in (("test", TEST_PREDICTIONS), ("validation", PREDICTIONS)):
        found = run.read_predictions(name)
        if found is not None:
            return Judged(what, *found)
    return None


def _curves(metrics: list[dict[str, float]]) -> Iterator[str]:
    names = [name for name in (metrics[0] if metrics else ()) if name not in ("epoch", "seconds")]
    accuracies = {words(n): [one[n] for one in metrics] for n in names if "accuracy" in n}
    for name in names:
        if "accuracy" not in name:
            yield charts.curves(words(name), {name: [one[name] for one in metrics]})
    if accuracies:
        yield charts.curves("accuracy, %", accuracies, percent=True)


def _documented(one: dict[str, Any]) -> tuple[str, str, str, bool]:
    name, promised = one["metric"], format_reference(one["metric"], ReferenceMetric.model_validate(one["reference"]))
    return words(name), promised, format_measured(name, one["measured"]), one["passed"]


def _mistakes(run: RunDir) -> Iterator[dict[str, Any]]:
    """Yield what is listed, with its pictures; where they lie is known, and not taken from the list."""
    for number, mistake in enumerate(run.read_json("mistakes.json").get("mistakes", ())):
        pictures = (run.read(f"mistakes/{number}{which}.png") for which in ("", "-where"))
        image, overlay = (_data_uri(content) if content else None for content in pictures)
        yield {**mistake, "name": printable(mistake["name"]), "image": image, "overlay": overlay}


def _findings(run: RunDir) -> Iterator[dict[str, Any]]:
    for finding in run.read_json("audit.json").get("findings", ()):
        yield {**finding, "paths": [printable(path) for path in finding["paths"]]}


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _flat(told: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _flat(value, "" if name == "packages" else f"{name} ")
        elif name != "command":
            yield f"{prefix}{name}", str(value)
