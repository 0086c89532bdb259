"""The directory of a search: what was asked for, the study, the table of trials and the report."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from zoo_core.disk.atomic import atomic_write, disk_errors
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import DataError, IntegrityError, UsageError
from zoo_core.recipes.plan import Plan
from zoo_core.runs.location import create_run_folder, folder_name
from zoo_core.runs.tuning import Tuning
from zoo_core.runs.tuning_page import render

REQUEST, TRIALS, REPORT, RESULT = "tune.json", "trials.csv", "report.html", "tuned.json"
FOLDER = "tune"  # next to the runs on the same data


@dataclass(frozen=True)
class Request:
    """What a search was asked for: everything that decides its trials."""

    plan: Plan  # of the recipe with the user's fields
    changed: Mapping[str, Any]  # these fields, by dotted key
    models: tuple[str, ...]


@dataclass(frozen=True)
class TuneDir:
    """tune.json: the request; study.sqlite: the trials; trials.csv, report.html and tuned.json: the outcome."""

    path: Path

    @classmethod
    def create(cls, root: Path, request: Request, fingerprint: str) -> TuneDir:
        """Create `root`/<recipe or data>/tune/<UTC time>.

        Raises:
            ResourceError: the folder cannot be created.
        """
        created = cls(create_run_folder(root / folder_name(request.plan), FOLDER, ""))
        fields = {
            "plan": request.plan.model_dump(mode="json"),
            "changed": dict(request.changed),
            "models": list(request.models),
            "images": fingerprint,
        }
        atomic_write(created.path / REQUEST, dump_document(fields))
        return created

    def read(self) -> Request:
        """Return what the search was asked for.

        Raises:
            DataError: the path is not the directory of a search, or tune.json is damaged.
        """
        fields = self._fields()
        try:
            plan = Plan.model_validate(fields["plan"])
            return Request(plan, dict(fields["changed"]), tuple(map(str, fields["models"])))
        except (ValidationError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"{self.path / REQUEST} is damaged", why=type(error).__name__) from error

    def require_same_images(self, fingerprint: str) -> None:
        """Compare the training images with those of the first trial.

        Raises:
            IntegrityError: they have changed.
        """
        if self._fields().get("images") != fingerprint:
            why = "its trials were measured on other images: start a new search"
            raise IntegrityError("the training images have changed since the search began", why=why)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from continuing this search at the same time.

        Raises:
            UsageError: another process does.
        """
        lock = FileLock(self.path / ".lock")
        try:
            with disk_errors(self.path):
                lock.acquire(timeout=1.0)
        except Timeout as error:
            raise UsageError(f"{self.path} is in use", why="another process continues this search") from error
        try:
            yield
        finally:
            lock.release()

    def write(self, tuning: Tuning) -> None:
        """Write the outcome so far."""
        atomic_write(self.path / TRIALS, tuning.to_csv())
        atomic_write(self.path / REPORT, render(tuning).encode(errors="backslashreplace"))
        atomic_write(self.path / RESULT, dump_document(tuning.to_dict()))

    @property
    def resume_command(self) -> str:
        """The command that continues the search."""
        return f"zoo tune --resume {shlex.quote(str(self.path))}"

    def _fields(self) -> dict[str, Any]:
        path = self.path / REQUEST
        try:
            return load_document(path.read_bytes())[1]
        except FileNotFoundError as error:
            why = f"it has no {REQUEST}"
            raise DataError(f"{self.path} is not the directory of a search", why=why, fix="zoo tune RECIPE") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read", why=str(error)) from error
