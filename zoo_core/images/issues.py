"""Issues that an audit reports about a folder or a CSV file of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zoo_core.errors import DataError, printable

BY_FOLDS = "--set split.folds=5"  # validates all images by cross-validation, where few or none are for validation


@dataclass(frozen=True)
class DataIssue:
    """Something the owner of the images should know; a fatal issue stops a run before its first epoch."""

    fatal: bool
    what: str
    paths: tuple[str, ...] = ()  # relative to the folder, or the names and suffixes that the issue is about
    option: str = ""  # what to add to the command to train anyway; empty: the images must be changed


def counted(number: int, noun: str) -> str:
    """Return "1 image" or "1,200 images"."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def describe(issue: DataIssue) -> str:
    """Return an issue as text, with each path on its own line."""
    head = f"  {'error' if issue.fatal else 'note'}: {issue.what}"
    return "\n".join([head, *(f"    {printable(path)}" for path in issue.paths)])


def stop_if_fatal(issues: Iterable[DataIssue], source: Path, command: str = "") -> None:
    """Raise DataError if an issue is fatal; the message lists every issue.

    If options make the images usable, the error says to add them to `command`.
    """
    issues = list(issues)
    fatal = [issue for issue in issues if issue.fatal]
    if not fatal:
        return
    lines = [*map(describe, issues), "Fix the errors above, then run the same command again."]
    options = " ".join(issue.option for issue in fatal) if command and all(issue.option for issue in fatal) else ""
    raise DataError(
        f"{printable(str(source))} cannot be used", why="\n".join(lines), fix=f"{command} {options}" if options else ""
    )
