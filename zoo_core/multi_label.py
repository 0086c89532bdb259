"""The predictions of a multi-label classifier: any number of classes per image, each with its threshold."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from statistics import fmean
from typing import Any

from zoo_core.cards.fields import Task
from zoo_core.disk.csv_cells import csv_cell, csv_rows, csv_text
from zoo_core.events import Predictions
from zoo_core.predictions import PredictionTable, above

DEFAULT_THRESHOLD = 0.5
FEWEST_POSITIVES = 5  # images: a class with fewer keeps DEFAULT_THRESHOLD, because its F1 score says too little
HEADER = ("image", "labels", "predictions")  # of the CSV; that of a single-label table begins "image,label,prediction"


@dataclass(frozen=True)
class LabelResult:
    """Metrics of one class at its threshold, as fractions of 1.

    `precision` is None if the class was never predicted; `recall` and `average_precision` are None if no image has it;
    `f1` is None if both hold.
    """

    name: str
    images: int  # that have the label
    true_positives: int
    false_positives: int
    false_negatives: int
    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True)
class MultiLabelTable(Predictions):
    """One row per image: its name, its labels, the predicted classes and an independent probability for each class.

    `labels` and `predicted` have one sorted tuple of class indices per image, which may be empty. A class is predicted
    where its probability is at least its threshold.
    """

    labels: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]  # one per class
    task: Task = "multi-label"

    @classmethod
    def of(
        cls, predictions: Predictions, classes: Sequence[str], thresholds: Sequence[float] | None = None
    ) -> MultiLabelTable:
        """Add the classes and their thresholds; None: those with the highest F1 score on these predictions."""
        labels: Any = predictions.labels
        if thresholds is None:
            columns = _columns(labels, predictions.probabilities, len(classes))
            thresholds = [best_threshold(scores, positives) for scores, positives in columns]
        return cls(predictions.names, labels, predictions.probabilities, tuple(classes), tuple(thresholds))

    @classmethod
    def from_csv(cls, content: bytes) -> MultiLabelTable:
        """Read what `to_csv` wrote; the thresholds are those with the highest F1 score on these predictions: see `at`.

        Raises:
            ValueError: it is not such a table.
        """
        header, *rows = csv_rows(content)
        classes = tuple(cell[2:-1] for cell in header[3:])
        if tuple(header[:3]) != HEADER or not classes or any(len(row) != len(header) for row in rows):
            raise ValueError("it is not a table of multi-label predictions")
        labels = tuple(_parse_labels(csv_text(row[1]), classes) for row in rows)
        scores = tuple(tuple(array("f", map(float, row[3:]))) for row in rows)
        return cls.of(Predictions(tuple(csv_text(row[0]) for row in rows), labels, scores), classes)

    def at(self, thresholds: Sequence[float]) -> MultiLabelTable:
        """Return the same probabilities with other thresholds, one per class."""
        return replace(self, thresholds=tuple(thresholds))

    def to_csv(self) -> bytes:
        """Return the table as CSV: image, labels, predictions, then one column p(class) for each class.

        Labels are joined by ";". In a class name, ";" and "\\" have a backslash before them. Probabilities have the
        nine digits that a float32 needs.
        """
        lines = [",".join(map(csv_cell, [*HEADER, *(f"p({name})" for name in self.classes)]))]
        for name, labels, predicted, row in self._rows():
            texts = (name, self._join(labels), self._join(predicted))
            lines.append(",".join([*map(csv_cell, texts), *(f"{probability:.9g}" for probability in row)]))
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dictionary per image, with the columns of the CSV: `pandas.DataFrame(table.to_records())`."""
        columns = [f"p({name})" for name in self.classes]
        return [
            {
                "image": name,
                "labels": self.names_of(labels),
                "predictions": self.names_of(predicted),
                **dict(zip(columns, row, strict=True)),
            }
            for name, labels, predicted, row in self._rows()
        ]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def names_of(self, labels: Sequence[int]) -> tuple[str, ...]:
        """Return the names of classes."""
        return tuple(self.classes[k] for k in labels)

    @cached_property
    def predicted(self) -> tuple[tuple[int, ...], ...]:
        """The predicted classes of each image."""
        return tuple(above(row, self.thresholds) for row in self.probabilities)

    @cached_property
    def class_results(self) -> tuple[LabelResult, ...]:
        """The metrics of each class, in label order."""
        columns = _columns(self.labels, self.probabilities, len(self.classes))
        return tuple(
            _result(name, threshold, scores, positives)
            for name, threshold, (scores, positives) in zip(self.classes, self.thresholds, columns, strict=True)
        )

    @cached_property
    def mean_average_precision(self) -> float:
        """The mean of the classes' average precision; classes that no image has are left out. 0 without any labels."""
        return fmean([r.average_precision for r in self.class_results if r.average_precision is not None] or [0.0])

    @property
    def without_images(self) -> tuple[str, ...]:
        """The classes that no image has: they are left out of `mean_average_precision`."""
        return tuple(result.name for result in self.class_results if not result.images)

    @property
    def metrics(self) -> dict[str, float]:
        """Mean average precision, and at the thresholds macro-F1, micro-F1 and the share of images that match exactly.

        Macro-F1 is the mean over the classes that are labeled or predicted; micro-F1 counts every label the same.
        """
        results = self.class_results
        correct = sum(result.true_positives for result in results)
        wrong = sum(result.false_positives + result.false_negatives for result in results)
        matching = sum(labels == predicted for _, labels, predicted, _ in self._rows())
        return {
            "map": self.mean_average_precision,
            "macro_f1": fmean([result.f1 for result in results if result.f1 is not None] or [0.0]),
            "micro_f1": 2 * correct / max(1, 2 * correct + wrong),
            "exact_match": matching / max(1, len(self)),
        }

    def _join(self, labels: Sequence[int]) -> str:
        return ";".join(re.sub(r"[\\;]", r"\\\g<0>", self.classes[k]) for k in labels)

    def _rows(self) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...], tuple[float, ...]]]:
        return zip(self.names, self.labels, self.predicted, self.probabilities, strict=True)


def average_precision(scores: Sequence[float], positives: Sequence[bool]) -> float | None:
    """Return the mean, over the positives, of the precision at the score of each; None without positives.

    Ties share one precision, as in scikit-learn's `average_precision_score`.
    """
    ranked = sorted(scores)
    relevant = sorted(score for score, positive in zip(scores, positives, strict=True) if positive)
    if not relevant:
        return None
    return fmean(
        (len(relevant) - bisect_left(relevant, score)) / (len(ranked) - bisect_left(ranked, score))
        for score in relevant
    )


def best_threshold(scores: Sequence[float], positives: Sequence[bool]) -> float:
    """Return the threshold with the highest F1 score, halfway between two scores; among equals, the one closest to 0.5.

    With fewer than FEWEST_POSITIVES positives it is DEFAULT_THRESHOLD.
    """
    total = sum(positives)
    if total < FEWEST_POSITIVES:
        return DEFAULT_THRESHOLD
    ranked = sorted(zip(scores, positives, strict=True), reverse=True)
    groups = [(score, [positive for _, positive in group]) for score, group in groupby(ranked, lambda pair: pair[0])]
    following = [score for score, _ in groups[1:]] + [0.0]
    correct = predicted = 0
    best = (0.0, 0.0, DEFAULT_THRESHOLD)
    for (score, group), following_score in zip(groups, following, strict=True):
        correct, predicted = correct + sum(group), predicted + len(group)
        threshold = (score + following_score) / 2
        f1 = 2 * correct / (predicted + total)
        best = max(best, (f1, -abs(threshold - DEFAULT_THRESHOLD), threshold))
    return best[2]


def table_of(predictions: Predictions, classes: Sequence[str], task: Task) -> PredictionTable | MultiLabelTable:
    """Return the predictions on validation images as the table of their task; thresholds are chosen on them."""
    kind = MultiLabelTable if task == "multi-label" else PredictionTable
    return kind.of(predictions, classes)


def table_from_csv(content: bytes) -> PredictionTable | MultiLabelTable:
    """Read a table of either task, which its header tells; raises ValueError if it is neither."""
    kind = MultiLabelTable if content.startswith(",".join(HEADER).encode()) else PredictionTable
    return kind.from_csv(content)


def _columns(
    labels: Sequence[tuple[int, ...]], rows: Sequence[Sequence[float]], classes: int
) -> Iterator[tuple[list[float], list[bool]]]:
    """Yield the probabilities of each class, and which images have it."""
    sets = [frozenset(each) for each in labels]
    for k in range(classes):
        yield [row[k] for row in rows], [k in each for each in sets]


def _result(name: str, threshold: float, scores: Sequence[float], positives: Sequence[bool]) -> LabelResult:
    predicted = [score >= threshold for score in scores]
    correct, images = sum(map(bool.__and__, predicted, positives)), sum(positives)
    false = sum(predicted) - correct
    return LabelResult(
        name,
        images,
        correct,
        false,
        images - correct,
        threshold,
        precision=correct / (correct + false) if correct + false else None,
        recall=correct / images if images else None,
        f1=2 * correct / (correct + false + images) if correct + false + images else None,
        average_precision=average_precision(scores, positives),
    )


def _parse_labels(cell: str, classes: Sequence[str]) -> tuple[int, ...]:
    index = {name: k for k, name in enumerate(classes)}
    names = [re.sub(r"\\(.)", r"\1", part, flags=re.S) for part in re.findall(r"(?:\\.|[^;\\])+", cell, flags=re.S)]
    try:
        return tuple(sorted(index[name] for name in names))
    except KeyError as error:
        raise ValueError(f"{error} is not one of its classes") from error
