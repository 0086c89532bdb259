"""One run's directory: readable at every moment, also after Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from zoo_core.disk.atomic import append_line, atomic_write, disk_errors, remove
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import DataError, IntegrityError, UsageError
from zoo_core.events import EpochResult, Predictions
from zoo_core.images.issues import DataIssue
from zoo_core.recipes import Plan
from zoo_core.results import Comparison, Mistake
from zoo_core.runs.checkpoints import Checkpoints
from zoo_core.runs.legacy import upgrade

PREDICTIONS, TEST_PREDICTIONS = "predictions.csv", "test-predictions.csv"  # over validation and test images
Status = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class RunDir:
    """The files of one run.

    plan.json         what was to be done, complete
    environment.json  where it was done
    metrics.jsonl     one line per finished epoch
    predictions.csv   the validation images: label and probabilities; test-predictions.csv: the test images
    mistakes/         the images that were got most wrong, and where the model looked: PNG, listed in mistakes.json
    audit.json        what is to be known of a folder of the user's own, where there is anything
    weights.safetensors   the tensors this run made (what a frozen backbone holds is named in plan.json, not copied)
    checkpoints/      where training stood, for `zoo run --resume`; gone when the run has finished
    resumes.jsonl     one line for each time that the run went on: from where, and what was other than at its beginning
    result.json       status, final metrics, and documented figures beside measured ones
    report.html       all of it on one page
    """

    path: Path
    writes: bool = True  # False: another process writes the same run

    @classmethod
    def create(cls, root: Path, plan: Plan, environment: Mapping[str, Any]) -> RunDir:
        """Make `root`/<recipe>/<UTC time>/, and let `latest` beside it point there.

        Raises:
            ResourceError: the folder cannot be made.
        """
        run = cls(_new_folder(root / plan.recipe.name))
        run._write_json("plan.json", plan.model_dump(mode="json"))
        run._write_json("environment.json", environment)
        run.write_result("running", reason=_who())
        _point(run.path.parent / "latest", run.path.name)
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Open a run directory that is there.

        Raises:
            DataError: it is none.
        """
        if not (path / "plan.json").is_file():
            raise DataError(f"{path} is not a run directory", why="it holds no plan.json", fix="ls runs/*/")
        return cls(path)

    @property
    def checkpoints(self) -> Checkpoints:
        """Where training stood."""
        return Checkpoints(self.path / "checkpoints")

    @property
    def status(self) -> str:
        """What became of the run, as result.json says: "running" also of one that was killed."""
        return str(self.read_json("result.json").get("status", "unknown"))

    @property
    def is_running(self) -> bool:
        """Whether a process is carrying it out."""
        try:
            with self.locked(patience=1.0):  # another rank may just be asking the same
                return False
        except UsageError:
            return True

    @contextmanager
    def locked(self, *, patience: float = 0.0) -> Iterator[None]:
        """Keep other processes from carrying out this run while this one does; wait `patience` seconds for its turn.

        Raises:
            UsageError: another process is at it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            with disk_errors(self.path):
                if self.writes:
                    lock.acquire(timeout=patience)
        except Timeout as error:
            who = self.read_json("result.json").get("reason", "")
            raise UsageError(f"{self.path} is under way", why=who, fix="wait for its end, or end it") from error
        try:
            yield
        finally:
            lock.release()

    @property
    def weights(self) -> Path:
        """Where the tensors lie that this run made."""
        return self.path / "weights.safetensors"

    def read_weights(self) -> bytes:
        """Read weights.safetensors.

        Raises:
            DataError: the run was not finished.
        """
        if not self.weights.is_file():
            raise DataError(f"{self.path} has no weights", why="the run was not finished", fix="zoo run RECIPE")
        return self.weights.read_bytes()

    def plan(self) -> Plan:
        """Read the plan.

        Raises:
            DataError: it is damaged, or another version wrote it.
        """
        try:
            return Plan.model_validate_json(json.dumps(self.read_json("plan.json")))
        except ValidationError as error:
            raise DataError(
                f"{self.path / 'plan.json'} cannot be read",
                why=f"{error.error_count()} of its fields are not as this version of zoo knows them",
            ) from error

    def refuse_links(self) -> None:
        """Hold that a run which may come from elsewhere has files and folders of its own, and nothing else.

        Raises:
            IntegrityError: there is a link, a pipe or a device.
        """
        for path in self.path.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise IntegrityError(f"{path} is a link, a pipe or a device", why="a run holds its files itself")

    def record(self, result: EpochResult) -> None:
        """Add one epoch to metrics.jsonl."""
        line = {"epoch": result.epoch, **result.metrics, "seconds": round(result.seconds, 3)}
        if self.writes:
            append_line(self.path / "metrics.jsonl", json.dumps(line, allow_nan=False))

    def mark_resumed(self, checkpoint: str, metrics: bytes, changed: Mapping[str, Any]) -> None:
        """Be running again, from a checkpoint ("": from the start), with metrics.jsonl as it was then."""
        if self.writes:
            self.checkpoints.sweep()
            self.checkpoints.forget_after(checkpoint)
            for left in self.path.glob(".*.part"):  # we hold the lock: nobody is at work on it
                remove(left)
            self._write("metrics.jsonl", metrics)
            line = {"time": datetime.now(UTC).isoformat(), "checkpoint": checkpoint, "changed": changed}
            append_line(self.path / "resumes.jsonl", json.dumps(line))
            self.write_result("running", reason=_who())

    def write_predictions(self, predictions: Predictions, classes: Sequence[str], name: str = PREDICTIONS) -> None:
        """Write predictions.csv: image, label, prediction, then one probability per class."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "label", "prediction", *(f"p({name})" for name in classes)])
        for image, label, row in zip(predictions.names, predictions.labels, predictions.probabilities, strict=True):
            predicted = classes[row.index(max(row))]
            table.writerow([image, classes[label], predicted, *(f"{probability:.6f}" for probability in row)])
        self._write(name, text.getvalue().encode("utf-8", "surrogateescape"))

    def write_audit(self, findings: Sequence[DataIssue]) -> None:
        """Write audit.json, where a folder was audited and something was found."""
        if findings:
            self._write_json("audit.json", {"findings": [vars(finding) for finding in findings]})

    def write_mistakes(self, mistakes: Iterable[Mistake]) -> None:
        """Write mistakes/: two pictures for each, numbered, the worst first; and mistakes.json."""
        listed = []
        for number, one in enumerate(mistakes):
            self._write(f"mistakes/{number}.png", one.image)
            if one.overlay is not None:
                self._write(f"mistakes/{number}-where.png", one.overlay)
            told = {"name": one.name, "label": one.label, "predicted": one.predicted, "probability": one.probability}
            listed.append(told)
        self._write_json("mistakes.json", {"mistakes": listed})

    def write_report(self, page: str) -> Path:
        """Write report.html, and return its path."""
        self._write("report.html", page.encode())
        return self.path / "report.html"

    def read(self, name: str) -> bytes | None:
        """Return what a file of this run holds; None if there is none.

        Raises:
            DataError: it cannot be read, or is a link: a run that came from elsewhere shows nothing but itself.
        """
        if (self.path / name).is_symlink():
            raise DataError(f"{self.path / name} is a link", why="a run holds its files itself")
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read", why=error.strerror or str(error)) from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of this run; empty if there is none.

        Raises:
            DataError: it is damaged.
        """
        try:
            schema, fields = load_document(self.read(name) or b"{}")
            return fields if schema else upgrade(name, fields)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path / name} is damaged", why=str(error)) from error

    def read_metrics(self) -> list[dict[str, float]]:
        """Return metrics.jsonl, an entry for each finished epoch; a last line that was cut off is left out."""
        return self._read_lines("metrics.jsonl")

    @property
    def environment_changed(self) -> bool:
        """Whether it went on with other versions, or on another machine, than it began with."""
        return any(line.get("changed") for line in self._read_lines("resumes.jsonl"))

    def _read_lines(self, name: str) -> list[dict[str, Any]]:
        found = []
        with suppress(ValueError, RecursionError):
            for line in (self.read(name) or b"").splitlines():
                found.append(_table(line))
        return found

    def read_predictions(self, name: str = PREDICTIONS) -> tuple[tuple[str, ...], list[list[str]]] | None:
        """Return the classes and the rows of a table of predictions; None: there is none."""
        content = self.read(name)
        if content is None:
            return None
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape")))
        return tuple(cell[2:-1] for cell in header[3:]), rows

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
    ) -> None:
        """Write result.json."""
        reference = [comparison.as_json() for comparison in comparisons]
        self._write_json(
            "result.json", {"status": status, "reason": reason, "metrics": metrics or {}, "reference": reference}
        )

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, dump_document(value))

    def _write(self, name: str, content: bytes) -> None:
        if self.writes:
            atomic_write(self.path / name, content)


def _table(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it holds no table")
    return found


def _who() -> str:
    return f"process {os.getpid()} on {platform.node()}"


def _new_folder(parent: Path) -> Path:
    """Make a folder named after the time; two runs that start together get two folders."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
    for attempt in count(1):
        folder = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        with disk_errors(folder), suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("count() never ends")


def _point(link: Path, target: str) -> None:
    """Let `link` point to `target`, where the file system knows links."""
    with suppress(OSError):
        temporary = link.with_name(f".{link.name}.{target}")
        temporary.symlink_to(target)
        temporary.replace(link)
