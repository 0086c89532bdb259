"""Lists the images that a CSV file names. Opens no image; needs no torch.

The first row names the columns: `path` and `label` (or `labels`), and optionally `split` and `group`, in any order;
others are ignored. Commas, semicolons or tabs separate them: whichever the first row has. Paths are relative to the
file's folder, or absolute. The data is multi-label if the column is named `labels`, or if a label contains a
semicolon: "cat;indoors" is two labels, and an empty label is none.

A split is train, validation (or val) or test. Rows without one are split by the audit, like class folders; the other
rows can then only be test images.
"""

from __future__ import annotations

import csv
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os.path import exists, isdir  # methods of a Path raise if its name is too long
from pathlib import Path
from typing import TextIO

from zoo_core.cards.fields import Split
from zoo_core.errors import DataError, printable
from zoo_core.images.issues import BY_FOLDS, DataIssue, counted
from zoo_core.images.labels import Label
from zoo_core.images.listing import LabelledFile, ListedImages, class_issues
from zoo_core.images.names import name_below

SPLIT_NAMES: Mapping[str, Split] = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
SUFFIXES = (".csv", ".tsv")
COLUMNS = ("path", "label", "labels", "split", "group")
SEPARATORS = ",;\t"
MAX_BYTES = 500_000_000  # some five million rows
MAX_LINE = 100_000  # characters; longer lines are not read into memory
MAX_FAULTS = 100  # listed of each kind


def is_csv(source: Path) -> bool:
    """Return whether a path names something other than a folder, and ends like a CSV file."""
    return source.suffix.lower() in SUFFIXES and exists(source) and not isdir(source)  # noqa: PTH110, PTH112 - as above


def read_csv(source: Path) -> ListedImages:
    """List the images that a CSV file names. What is wrong with its rows is in `issues`, with line numbers.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or has no columns `path` and `label`.
    """
    name = printable(str(source))
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{name} cannot be read", why="not a regular file")
        if status.st_size > MAX_BYTES:
            raise DataError(f"{name} is too large", why=f"{status.st_size:,} bytes, the limit is {MAX_BYTES:,}")
        with source.open(encoding="utf-8-sig", newline="") as file:
            return _Rows(source).listed(file)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not a CSV file", why="it is not UTF-8 text") from error
    except csv.Error as error:
        raise DataError(f"{name} is not a CSV file", why=str(error)) from error
    except OSError as error:
        raise DataError(f"{name} cannot be read", why=error.strerror or str(error)) from error


@dataclass(frozen=True)
class _Row:
    """One image: the row's line, and its cells."""

    line: int
    path: Path
    labels: tuple[str, ...]  # in plain string order, without repeats
    split: Split | None
    group: str


@dataclass
class _Rows:
    """The rows of a CSV file, and what is wrong with them."""

    source: Path
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # "line 3: …" by what is wrong
    repeats: list[str] = field(default_factory=list)
    multi_label: bool = False

    def listed(self, file: TextIO) -> ListedImages:
        """Read all rows."""
        rows = self._without_repeats(list(self._rows(file)))
        if any(row.split in ("train", "validation") for row in rows):
            self._fault_if("without a split, although others are training or validation images", rows, _has_no_split)
        if not self.multi_label:
            self._fault_if("without a label", rows, lambda row: not row.labels)
        classes = tuple(sorted({label for row in rows for label in row.labels}))
        numbers = {name: number for number, name in enumerate(classes)}
        splits: dict[Split, list[LabelledFile]] = defaultdict(list)
        for row in rows:
            splits[row.split or "train"].append((row.path, self._label(row, numbers)))
        return ListedImages(
            source=self.source,
            root=self.source.parent,
            classes=classes,
            splits={split: tuple(splits[split]) for split in ("train", "validation", "test") if split in splits},
            issues=(*self._issues(rows), *class_issues(classes, least=1 if self.multi_label else 2)),
            split_by_zoo=any(map(_has_no_split, rows)),
            task="multi-label" if self.multi_label else "single-label",
            groups={row.path: row.group for row in rows if row.group},
        )

    def _label(self, row: _Row, numbers: Mapping[str, int]) -> Label:
        labels = tuple(numbers[name] for name in row.labels)
        return labels if self.multi_label else (*labels, 0)[0]  # 0: an error that stops the run anyway

    def _rows(self, file: TextIO) -> Iterator[_Row]:
        lines = _bounded(file)
        header = next(lines, "")
        separator = max(SEPARATORS, key=header.count)
        columns = [cell.strip().lower() for cell in next(csv.reader([header], delimiter=separator, strict=True), [])]
        self._check_header(columns)
        self.multi_label = "labels" in columns
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            for cells in reader:
                if any(cells) and (row := self._row(reader.line_num + 1, columns, cells)):
                    yield row
        except csv.Error as error:  # the rest of the file is not read
            line = reader.line_num + (2 if isinstance(error, _TooLong) else 1)
            self.faults["that cannot be read"].append(f"line {line}: {error}")

    def _check_header(self, columns: list[str]) -> None:
        labels = [name for name in columns if name in ("label", "labels")]
        repeated = sorted({name for name in columns if name in COLUMNS and columns.count(name) > 1})
        if "path" in columns and len(labels) == 1 and not repeated:
            return
        found = ", ".join(map(printable, columns[:10])) + (", …" if len(columns) > 10 else "")
        why = f"its first row must name the columns path and label, each once; it has: {found or 'nothing'}"
        raise DataError(f"{printable(str(self.source))} cannot be used", why=why)

    def _row(self, line: int, columns: list[str], cells: list[str]) -> _Row | None:
        if len(cells) != len(columns):
            self.faults["with more or fewer cells than the first row"].append(f"line {line}: {len(cells):,} cells")
            return None
        row = dict(zip(columns, cells, strict=True))
        split, label = row.get("split", "").strip().lower(), row.get("label", row.get("labels", ""))
        self.multi_label |= ";" in label
        faults = list(_faults(self.source.parent, row["path"], split))
        for what, detail in faults:
            self.faults[what].append(f"line {line}: {detail}" if detail else f"line {line}")
        if faults:
            return None
        labels = sorted({name.strip() for name in label.split(";")} - {""})
        path = self.source.parent / row["path"]
        return _Row(line, path, tuple(labels), SPLIT_NAMES.get(split), row.get("group", "").strip())

    def _without_repeats(self, rows: list[_Row]) -> list[_Row]:
        """Return the first row of each file; the others must say the same."""
        first: dict[str, _Row] = {}
        for row in rows:
            known = first.setdefault(os.path.normpath(row.path), row)
            if known is row:
                continue
            where = f"lines {known.line} and {row.line}: {name_below(self.source.parent, row.path)}"
            if (known.labels, known.split, known.group) == (row.labels, row.split, row.group):
                self.repeats.append(where)
            else:
                self.faults["with a different label, split or group from an earlier row of the same image"].append(
                    where
                )
        return list(first.values())

    def _fault_if(self, what: str, rows: list[_Row], is_faulty: Callable[[_Row], bool]) -> None:
        if faulty := [f"line {row.line}" for row in rows if is_faulty(row)]:
            self.faults[what] += faulty

    def _issues(self, rows: list[_Row]) -> Iterator[DataIssue]:
        for what, lines in self.faults.items():
            yield DataIssue(True, f"{counted(len(lines), 'row')} {what}", _first(lines))
        if self.repeats:
            yield DataIssue(False, f"ignored {counted(len(self.repeats), 'repeated row')}", _first(self.repeats))
        if not rows and not self.faults:
            yield DataIssue(True, "no rows below the first one")
        given = {row.split for row in rows}
        if missing := [split for split in ("train", "validation") if split not in given and None not in given]:
            what = f"no {' and no '.join(missing)} images in the column split"
            yield DataIssue(True, what, option=BY_FOLDS if missing == ["validation"] else "")


def _faults(root: Path, path: str, split: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a row, with details."""
    if split and split not in SPLIT_NAMES:
        yield "with an unknown split (known: train, validation, val, test)", split
    if not path:
        yield "without a path", ""
        return
    try:
        if stat.S_ISDIR(os.stat(root / path).st_mode):  # noqa: PTH116 - Path.stat is slower, for millions of rows
            yield "whose path is a folder, not an image", path
    except (FileNotFoundError, NotADirectoryError):
        yield "whose file does not exist", path
    except ValueError:  # a NUL character
        yield "whose path no file can have", path
    except OSError as error:
        yield "whose file cannot be opened", f"{path[:200]}: {error.strerror}"


def _has_no_split(row: _Row) -> bool:
    return row.split is None


class _TooLong(csv.Error):
    """The next line is too long to be read into memory."""


def _bounded(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; raise _TooLong at one that is too long to be read into memory."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise _TooLong(f"longer than {MAX_LINE:,} characters")
        yield line


def _first(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - MAX_FAULTS
    return (*lines[:MAX_FAULTS], f"and {more:,} more") if more > 0 else tuple(lines)
