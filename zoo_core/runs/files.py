"""Reads the files of a run directory, which may be missing or damaged, or may come from someone else."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zoo_core.disk.documents import load_document
from zoo_core.errors import DataError, IntegrityError
from zoo_core.metrics import MetricKind
from zoo_core.multi_label import DEFAULT_THRESHOLD, MultiLabelTable, table_from_csv
from zoo_core.predictions import PredictionTable
from zoo_core.recipes.plan import Plan
from zoo_core.runs.checkpoints import Checkpoints
from zoo_core.runs.labels import RunLabels
from zoo_core.runs.legacy import upgrade

PREDICTIONS, TEST_PREDICTIONS = "predictions.csv", "test-predictions.csv"  # of the validation and the test images
THRESHOLDS = "thresholds.json"
STAMP = "%Y%m%dT%H%M%SZ"  # the name of a run that was not given one: the UTC time
READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class RunFiles:
    """The files of one run, for reading.

    plan.json         everything that defines the run
    run.json          when it started, its tags and its note
    environment.json  versions, machine, device
    metrics.jsonl     one line per finished epoch
    predictions.csv   label, prediction and probabilities of the validation images
    test-predictions.csv  the same for the test images
    thresholds.json   of a multi-label run: the probability from which each class is predicted
    mistakes/         PNG files of the worst predictions and their Grad-CAM, listed in mistakes.json
    audit.json        of the user's own images: the number in each split and class, and the issues found
    weights.safetensors   the tensors that this run trained; plan.json names those of a frozen backbone
    best/             the best epoch so far, if the recipe keeps it; deleted when the run has finished
    checkpoints/      training states for `zoo run --resume`; deleted when the run has finished
    resumes.jsonl     one line per resume: from which checkpoint, and what differs from the original environment
    result.json       status, final metrics, and the published metrics compared with them
    report.html       everything on one page
    """

    path: Path

    @property
    def checkpoints(self) -> Checkpoints:
        """The saved training states."""
        return Checkpoints(self.path / "checkpoints")

    @property
    def best(self) -> Checkpoints:
        """The best epoch, and those that were best at a saved training state."""
        return Checkpoints(self.path / "best", most=None)

    @property
    def weights(self) -> Path:
        """The path of the tensors that this run trained."""
        return self.path / "weights.safetensors"

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist.

        Raises:
            DataError: it cannot be read, or is not a regular file. A link is not followed and a pipe is not waited for.
        """
        try:
            return _read_regular(self.path / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP or (self.path / name).is_symlink():
                raise DataError(f"{self.path / name} is a link", why="a run directory contains only files") from error
            raise DataError(f"{self.path / name} cannot be read", why=error.strerror or str(error)) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the fields of a JSON document; empty if it does not exist.

        Raises:
            DataError: it is damaged, or a newer version wrote it.
        """
        try:
            schema, fields = load_document(self.read(name) or b"{}")
            return fields if schema else upgrade(name, fields)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path / name} is damaged", why=str(error)) from error

    def plan(self) -> Plan:
        """Return the plan.

        Raises:
            DataError: it is damaged, or another version wrote it.
        """
        try:
            return Plan.model_validate_json(json.dumps(self.read_json("plan.json")))
        except ValidationError as error:
            raise DataError(
                f"{self.path / 'plan.json'} cannot be read",
                why=f"{error.error_count()} of its fields are invalid in this version of zoo",
            ) from error

    @property
    def started(self) -> datetime:
        """When the run started, in UTC. Older runs are named after it; otherwise it is when plan.json was written."""
        with suppress(DataError, LookupError, TypeError, ValueError, OverflowError):
            return datetime.fromisoformat(self.read_json("run.json")["started"]).astimezone(UTC)
        with suppress(ValueError):
            return datetime.strptime(self.path.resolve().name[:16], STAMP).replace(tzinfo=UTC)
        with suppress(OSError):
            return datetime.fromtimestamp((self.path / "plan.json").lstat().st_mtime, UTC)
        return datetime.fromtimestamp(0, UTC)

    def read_labels(self) -> RunLabels:
        """Return the name, the tags and the note.

        Raises:
            DataError: run.json is damaged.
        """
        try:
            labels = RunLabels.from_document(self.read_json("run.json"))
        except TypeError as error:
            raise DataError(f"{self.path / 'run.json'} is damaged", why=str(error)) from error
        return replace(labels, name=self.path.resolve().name)

    def read_weights(self) -> bytes:
        """Return the content of weights.safetensors.

        Raises:
            DataError: the run has not finished, or the file cannot be read.
        """
        content = self.read(self.weights.name)
        if content is None:
            raise DataError(f"{self.path} has no weights", why="the run has not finished", fix="zoo runs")
        return content

    def read_metrics(self) -> list[dict[str, float]]:
        """Return the metrics of each finished epoch; a line that was cut off ends the list."""
        lines = self._read_lines("metrics.jsonl")
        return [{name: value for name, value in line.items() if name != "kinds"} for line in lines]

    def read_metric_kinds(self) -> dict[str, MetricKind]:
        """Return the kinds that the trainer declared for its own metrics."""
        kinds: dict[str, MetricKind] = {}
        for line in self._read_lines("metrics.jsonl"):
            kinds |= line.get("kinds", {})
        return kinds

    def read_thresholds(self, classes: Sequence[str]) -> tuple[float, ...]:
        """Return the thresholds of a multi-label run's classes; a run without validation images has chosen none.

        Raises:
            DataError: they are damaged.
        """
        found = self.read_json(THRESHOLDS).get("thresholds", {})
        try:
            thresholds = tuple(float(found.get(name, DEFAULT_THRESHOLD)) for name in classes)
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"{self.path / THRESHOLDS} is damaged", why=str(error)) from error
        if not all(0 <= threshold <= 1 for threshold in thresholds):
            raise DataError(f"{self.path / THRESHOLDS} is damaged", why="thresholds are between 0 and 1")
        return thresholds

    def thresholds(self) -> tuple[float, ...] | None:
        """Return the thresholds of a multi-label run, by class; None for a single-label run."""
        plan = self.plan()
        return self.read_thresholds(plan.classes) if plan.task == "multi-label" else None

    def read_predictions(self, name: str = PREDICTIONS) -> PredictionTable | MultiLabelTable | None:
        """Return a table of predictions; None if it does not exist.

        Raises:
            DataError: it is damaged.
        """
        content = self.read(name)
        if content is None:
            return None
        try:
            table = table_from_csv(content)
        except ValueError as error:
            raise DataError(f"{self.path / name} is damaged", why=str(error)) from error
        return table.at(self.read_thresholds(table.classes)) if isinstance(table, MultiLabelTable) else table

    @property
    def environment_changed(self) -> bool:
        """Whether the run was resumed with other versions, or on another machine."""
        return any(line.get("changed") for line in self._read_lines("resumes.jsonl"))

    def refuse_links(self) -> None:
        """Check that a run, which may come from someone else, contains only regular files and folders.

        Raises:
            IntegrityError: there is a link, a pipe or a device.
        """
        for path in self.path.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise IntegrityError(f"{path} is a link, a pipe or a device", why="a run directory contains only files")

    def _read_lines(self, name: str) -> list[dict[str, Any]]:
        lines = []
        with suppress(ValueError, RecursionError):
            for content in (self.read(name) or b"").splitlines():
                lines.append(_object(content))
        return lines


def _read_regular(path: Path) -> bytes:
    descriptor = os.open(path, READ_ONLY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(f"{path} cannot be read", why="it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _object(content: bytes) -> dict[str, Any]:
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
