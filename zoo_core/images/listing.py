"""The labeled image files that a folder or a CSV file names, before any of them is opened."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import Split, Task
from zoo_core.errors import DataError, printable
from zoo_core.images.issues import DataIssue, counted
from zoo_core.images.labels import Label

NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, bytes that are not UTF-8, line ends
LabelledFile = tuple[Path, Label]


@dataclass(frozen=True)
class ListedImages:
    """Image files with labels, and the issues found by listing them."""

    source: Path  # what `--data` names: a folder, or a CSV file
    root: Path  # the folder that the images' names are relative to
    classes: tuple[str, ...]  # in plain string order
    splits: Mapping[Split, tuple[LabelledFile, ...]]
    issues: tuple[DataIssue, ...]
    split_by_zoo: bool = False  # images for training and validation are all under "train" until the audit splits them
    task: Task = "single-label"
    groups: Mapping[Path, str] = field(default_factory=dict)  # from the CSV's column; images without a group have none

    @property
    def dataset(self) -> DatasetCard:
        """A card for these images, so that a plan can hold them like any dataset."""
        counts = {split: len(files) for split, files in self.splits.items() if files}
        summary = f"{self.source}, split by zoo" if self.split_by_zoo else str(self.source)
        name = "folder" if self.source == self.root else "csv"
        edition = Edition(name=name, summary=summary, files={}, examples=counts)
        return DatasetCard(
            name=name,
            summary=f"the images in {self.source}",
            license="yours",
            attribution="",
            source=str(self.source),
            classes=self.classes,
            task=self.task,
            editions=(edition,),
        )

    def only(self, split: Split) -> ListedImages:
        """Return the listing without its other splits.

        Raises:
            DataError: there is no such split.
        """
        if not self.splits.get(split):
            raise no_such_split(self.source, split, self.splits)
        return replace(self, splits={split: self.splits[split]})


def no_such_split(source: Path, split: Split, splits: Iterable[str]) -> DataError:
    """Return the error for a split that a folder or a CSV file does not have."""
    return DataError(f"{printable(str(source))} has no {split} images", why=f"its splits: {', '.join(splits)}")


def class_issues(classes: tuple[str, ...], least: int = 2) -> Iterable[DataIssue]:
    """Report too few classes, names that are not text, and names that are easily confused."""
    if len(classes) < least:
        names = f": {printable(classes[0])}" if classes else ""
        required = "at least two classes are" if least == 2 else "at least one class is"
        yield DataIssue(True, f"{required} required, found {len(classes)}{names}")
    if not_text := tuple(name for name in classes if not is_text(name)):
        what = f"{counted(len(not_text), 'class name')} with control characters or bytes that are not UTF-8"
        yield DataIssue(True, what, not_text)
    similar = defaultdict(list)
    for name in classes:
        similar[unicodedata.normalize("NFC", name).casefold()].append(name)
    if groups := tuple(" and ".join(map(ascii, names)) for names in similar.values() if len(names) > 1):
        yield DataIssue(False, "class names that are easily confused", groups)


def require_text(source: Path) -> None:
    """Raise DataError for a path that a plan cannot store."""
    if not is_text(str(source)):
        why = "it contains control characters, or bytes that are not UTF-8; rename it"
        raise DataError(f"{printable(str(source))} is not a path that a plan can store", why=why)


def is_text(name: str) -> bool:
    """Return whether a name has neither control characters nor bytes that are not UTF-8."""
    return not any(unicodedata.category(character) in NOT_TEXT for character in name)
