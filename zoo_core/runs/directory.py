"""One run's directory: written step by step, and readable at any moment, even after Ctrl-C."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from zoo_core.cards.fields import Split
from zoo_core.disk.atomic import append_line, atomic_write, disk_errors, remove
from zoo_core.disk.documents import dump_document
from zoo_core.errors import DataError, ResourceError, UsageError
from zoo_core.events import EpochResult
from zoo_core.images.issues import DataIssue
from zoo_core.multi_label import MultiLabelTable
from zoo_core.predictions import PredictionTable
from zoo_core.recipes.plan import Plan
from zoo_core.results import Comparison, Mistake, RunResult
from zoo_core.runs.files import PREDICTIONS, THRESHOLDS, RunFiles
from zoo_core.runs.labels import UNLABELED, RunLabels
from zoo_core.runs.location import create_run_folder, folder_name, link_latest

LOCK = ".lock"
LOCK_TIMEOUT = 1.0  # seconds: a process that only asks whether the run is locked holds the lock for a moment
Status = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class RunDir(RunFiles):
    """A run directory, for writing. RunFiles lists its files."""

    writes: bool = True  # False: another process writes the same run

    @classmethod
    def create(cls, root: Path, plan: Plan, environment: Mapping[str, Any], labels: RunLabels = UNLABELED) -> RunDir:
        """Create `root`/<recipe or data>/<name or UTC time>/, and link `latest`, next to it and in `root`, to it.

        Raises:
            ResourceError: the folder cannot be created.
            UsageError: another run has the name.
        """
        run = cls(create_run_folder(root, folder_name(plan), labels.name))
        run.write_labels(labels, started=datetime.now(UTC))
        run._write_json("plan.json", plan.model_dump(mode="json"))
        run._write_json("environment.json", environment)
        run.write_result("running", reason=_this_process())
        link_latest(run.path, root)
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Open an existing run directory.

        Raises:
            DataError: the path is not a run directory.
        """
        if not (path / "plan.json").is_file():
            raise DataError(f"{path} is not a run directory", why="it has no plan.json", fix="zoo runs")
        return cls(path)

    @property
    def status(self) -> str:
        """The status in result.json: a run that was killed is still "running" there. See `outcome`."""
        return str(self.read_json("result.json").get("status", "unknown"))

    def outcome(self) -> tuple[str, str]:
        """Return the status and the reason; a run that was killed is "interrupted"."""
        result = self.read_json("result.json")
        status, reason = str(result.get("status", "unknown")), str(result.get("reason", ""))
        if status == "running" and not self.is_locked:
            return "interrupted", f"killed ({reason})" if reason else "killed"
        return status, reason

    @property
    def is_locked(self) -> bool:
        """Whether a process is training this run right now."""
        if not (self.path / LOCK).exists():
            return False
        try:
            with self.locked():
                return False
        except UsageError:
            return True
        except ResourceError:  # a directory that we cannot write, so no process of ours trains in it
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this run at the same time.

        Raises:
            UsageError: another process is training it.
        """
        lock = FileLock(self.path / LOCK)
        try:
            with disk_errors(self.path):
                if self.writes:
                    lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout as error:
            owner = self.read_json("result.json").get("reason", "")
            why = f"{owner or 'another process'} is training it: wait until it ends, or stop it"
            raise UsageError(f"{self.path} is already running", why=why) from error
        try:
            yield
        finally:
            lock.release()

    def record(self, result: EpochResult) -> None:
        """Add one epoch to metrics.jsonl."""
        line: dict[str, Any] = {"epoch": result.epoch, **result.metrics, "seconds": round(result.seconds, 3)}
        if result.kinds:
            line["kinds"] = dict(result.kinds)
        if self.writes:
            append_line(self.path / "metrics.jsonl", json.dumps(line, allow_nan=False))

    def mark_resumed(self, checkpoint: str, metrics: bytes, changed: Mapping[str, Any]) -> None:
        """Set the status to running, with metrics.jsonl as it was at the checkpoint ("": from the start)."""
        if self.writes:
            self.checkpoints.sweep()
            self.checkpoints.forget_after(checkpoint)
            self.best.sweep()
            self.best.forget_after(checkpoint)  # those epochs are trained again
            for leftover in self.path.glob(".*.part"):  # we hold the lock: no other process is writing it
                remove(leftover)
            self._write("metrics.jsonl", metrics)
            line = {"time": datetime.now(UTC).isoformat(), "checkpoint": checkpoint, "changed": changed}
            append_line(self.path / "resumes.jsonl", json.dumps(line))
            self.write_result("running", reason=_this_process())

    def write_labels(self, labels: RunLabels, *, started: datetime | None = None) -> None:
        """Write run.json: the tags, the note and when the run started (None: as it has been)."""
        start = (started or self.started).isoformat()
        self._write_json("run.json", {"started": start, "tags": labels.tags, "note": labels.note})

    def add_labels(self, labels: RunLabels) -> None:
        """Add tags to those that the run has, and replace its note if there is another."""
        if self.writes:
            self.write_labels(self.read_labels().edited(add=labels.tags, note=labels.note or None))

    def write_predictions(self, table: PredictionTable | MultiLabelTable, name: str = PREDICTIONS) -> None:
        """Write predictions.csv: image, label, prediction, then one probability per class.

        The thresholds that the validation images of a multi-label run gave are written with them, to thresholds.json.
        """
        self._write(name, table.to_csv())
        if isinstance(table, MultiLabelTable) and name == PREDICTIONS:
            self._write_json(THRESHOLDS, {"thresholds": dict(zip(table.classes, table.thresholds, strict=True))})

    def write_audit(self, issues: Sequence[DataIssue], class_counts: Mapping[Split, Mapping[str, int]]) -> None:
        """Write audit.json, if the user's own images were audited."""
        if issues or class_counts:
            counts = {split: dict(numbers) for split, numbers in class_counts.items()}
            self._write_json("audit.json", {"findings": [vars(issue) for issue in issues], "class_counts": counts})

    def write_mistakes(self, mistakes: Iterable[Mistake]) -> None:
        """Write mistakes/, two numbered pictures per image, the worst first; and mistakes.json."""
        entries = []
        for number, mistake in enumerate(mistakes):
            self._write(f"mistakes/{number}.png", mistake.image)
            if mistake.overlay is not None:
                self._write(f"mistakes/{number}-where.png", mistake.overlay)
            entries.append({key: getattr(mistake, key) for key in ("name", "label", "predicted", "probability")})
        self._write_json("mistakes.json", {"mistakes": entries})

    def write_report(self, page: str) -> Path:
        """Write report.html, and return its path."""
        self._write("report.html", page.encode())
        return self.path / "report.html"

    def write_weights(self, content: bytes) -> None:
        """Write weights.safetensors."""
        self._write(self.weights.name, content)

    def write_result(
        self,
        status: Status,
        *,
        reason: str = "",
        metrics: Mapping[str, float] | None = None,
        comparisons: Sequence[Comparison] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write result.json; `more` are further fields."""
        reference = [comparison.as_json() for comparison in comparisons]
        fields = {"status": status, "reason": reason, "metrics": metrics or {}, "reference": reference}
        self._write_json("result.json", {**fields, **(more or {})})

    def write_finished(self, result: RunResult) -> None:
        """Write result.json of a finished run."""
        fields = result.to_dict()
        more = {name: fields[name] for name in ("intervals", "splits", "kept", "seconds")}
        reason = result.kept.stopped if result.kept else ""
        self.write_result("finished", reason=reason, metrics=result.metrics, comparisons=result.comparisons, more=more)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, dump_document(value))

    def _write(self, name: str, content: bytes) -> None:
        if self.writes:
            atomic_write(self.path / name, content)


def _this_process() -> str:
    return f"process {os.getpid()} on {platform.node()}"
