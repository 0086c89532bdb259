"""The prediction for one image, and those for labeled images: as a table, as CSV, and the metrics derived from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from zoo_core.cards.fields import Task
from zoo_core.disk.csv_cells import csv_cell, csv_rows, csv_text
from zoo_core.events import Predictions
from zoo_core.metrics import Interval, balanced_accuracy, macro_f1, wilson

BINS = 10  # equal intervals of confidence, for calibration


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image: every class with its probability, likeliest first."""

    image: str
    ranking: tuple[tuple[str, float], ...]
    several: tuple[str, ...] | None = None  # the classes above their thresholds, likeliest first; None: single-label

    @classmethod
    def of(
        cls, image: str, classes: Sequence[str], probabilities: Sequence[float], thresholds: Sequence[float] | None
    ) -> Self:
        """Rank the classes by their probabilities; with thresholds, those that reach theirs are predicted."""
        ranking = tuple(sorted(zip(classes, probabilities, strict=True), key=lambda pair: -pair[1]))
        if thresholds is None:
            return cls(image, ranking)
        chosen = {classes[k] for k in above(probabilities, thresholds)}
        return cls(image, ranking, tuple(label for label, _ in ranking if label in chosen))

    def __repr__(self) -> str:
        chosen = ", ".join(f"{label} {100 * probability:.2f} %" for label, probability in self.chosen)
        return f"<Prediction {self.image}: {chosen or 'none'}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """The predicted classes: the most probable one, or for multi-label models all above their thresholds."""
        return (self.label,) if self.several is None else self.several

    @property
    def chosen(self) -> tuple[tuple[str, float], ...]:
        """The predicted classes with their probabilities, likeliest first."""
        return tuple(pair for pair in self.ranking if pair[0] in self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return a flat record for a table: image, label, probability, and a column for each class.

        Of a multi-label model it has `labels`, a tuple, in place of label and probability.
        """
        if self.several is not None:
            return {"image": self.image, "labels": self.several, **dict(self.ranking)}
        return {"image": self.image, "label": self.label, "probability": self.probability, **dict(self.ranking)}

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.ranking[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.ranking[0][1]


@dataclass(frozen=True)
class ClassResult:
    """Metrics of one class, as fractions of 1.

    `precision` is None if the class was never predicted, `recall` if it has no images.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose predicted class has a probability in one interval."""

    confidence: float  # mean probability of the predicted class
    accuracy: float  # fraction of 1
    images: int


@dataclass(frozen=True)
class PredictionTable(Predictions):
    """One row per image: its name, its label, the predicted class and a probability for each class."""

    labels: tuple[int, ...]
    classes: tuple[str, ...]
    predicted: tuple[int, ...]  # indices into classes
    task: Task = "single-label"

    @classmethod
    def of(cls, predictions: Predictions, classes: Sequence[str], task: Task = "single-label") -> Self:
        """Add the classes, and predict the likeliest one for each image (the first of equals)."""
        likeliest = tuple(row.index(max(row)) for row in predictions.probabilities)
        labels: Any = predictions.labels
        return cls(predictions.names, labels, predictions.probabilities, tuple(classes), likeliest, task)

    @classmethod
    def from_csv(cls, content: bytes, task: Task = "single-label") -> Self:
        """Read what `to_csv` wrote; probabilities have six decimals.

        Raises:
            ValueError: it is not such a table.
        """
        header, *rows = csv_rows(content)
        classes = tuple(cell[2:-1] for cell in header[3:])
        index = {name: k for k, name in enumerate(classes)}
        if not classes or any(len(row) != len(header) for row in rows):
            raise ValueError("it is not a table of predictions")
        try:
            labels, predicted = (tuple(index[csv_text(row[column])] for row in rows) for column in (1, 2))
        except KeyError as error:
            raise ValueError(f"{error} is not one of its classes") from error
        probabilities = tuple(tuple(map(float, row[3:])) for row in rows)
        return cls(tuple(csv_text(row[0]) for row in rows), labels, probabilities, classes, predicted, task)

    def to_csv(self) -> bytes:
        """Return the table as CSV: image, label, prediction, then one column p(class) for each class.

        A text that a spreadsheet would evaluate as a formula is written with an apostrophe before it.
        """
        header = ["image", "label", "prediction", *(f"p({name})" for name in self.classes)]
        lines = [",".join(map(csv_cell, header))]
        for name, label, predicted, row in self._rows():
            texts = (name, self.classes[label], self.classes[predicted])
            lines.append(",".join([*map(csv_cell, texts), *(f"{probability:.6f}" for probability in row)]))
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dictionary per image, with the columns of the CSV: `pandas.DataFrame(table.to_records())`."""
        columns = [f"p({name})" for name in self.classes]
        return [
            {
                "image": name,
                "label": self.classes[label],
                "prediction": self.classes[predicted],
                **dict(zip(columns, row, strict=True)),
            }
            for name, label, predicted, row in self._rows()
        ]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    @cached_property
    def accuracy(self) -> float:
        """The fraction of images whose label is predicted."""
        return self._correct.total() / max(1, len(self))

    @property
    def accuracy_interval(self) -> Interval:
        """The 95 % Wilson interval of the accuracy."""
        return wilson(self._correct.total(), len(self))

    @cached_property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have images: what accuracy is if all classes are equally frequent."""
        indices = range(len(self.classes))
        labels = Counter(self.labels)
        return balanced_accuracy([self._correct[k] for k in indices], [labels[k] for k in indices])

    @cached_property
    def macro_f1(self) -> float:
        """The mean F1 score of all classes that are labeled or predicted."""
        indices = range(len(self.classes))
        counts = (self._correct, Counter(self.labels), Counter(self.predicted))
        return macro_f1(*([count[k] for k in indices] for count in counts))

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the whole set by name, without its split; which ones depends on the task."""
        return {"accuracy": self.accuracy, "balanced_accuracy": self.balanced_accuracy, "macro_f1": self.macro_f1}

    @cached_property
    def majority(self) -> float:
        """The accuracy of always predicting the most frequent label."""
        return max(Counter(self.labels).values(), default=0) / max(1, len(self))

    @cached_property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Image counts, (true class, predicted class)."""
        counts = Counter(zip(self.labels, self.predicted, strict=True))
        indices = range(len(self.classes))
        return tuple(tuple(counts[label, predicted] for predicted in indices) for label in indices)

    @cached_property
    def class_results(self) -> tuple[ClassResult, ...]:
        """Precision and recall of each class, in label order."""
        labels, predicted, correct = Counter(self.labels), Counter(self.predicted), self._correct
        return tuple(
            ClassResult(name, labels[k], _ratio(correct[k], predicted[k]), _ratio(correct[k], labels[k]))
            for k, name in enumerate(self.classes)
        )

    def most_confused(self, count: int) -> list[tuple[str, str, int]]:
        """Return the (true class, predicted class, images) that are confused most often, at most `count` of them."""
        wrong = Counter(pair for pair in zip(self.labels, self.predicted, strict=True) if pair[0] != pair[1])
        return [(self.classes[label], self.classes[answer], n) for (label, answer), n in wrong.most_common(count)]

    @cached_property
    def calibration(self) -> tuple[CalibrationBin, ...]:
        """The bins that have images, by rising confidence."""
        bins: dict[int, list[tuple[float, bool]]] = {}
        for _, label, predicted, row in self._rows():
            confidence = max(row)
            bins.setdefault(min(BINS - 1, int(confidence * BINS)), []).append((confidence, label == predicted))
        return tuple(_calibration_bin(bins[index]) for index in sorted(bins))

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: the mean distance of confidence and accuracy over the images."""
        return sum(abs(bin_.confidence - bin_.accuracy) * bin_.images for bin_ in self.calibration) / max(1, len(self))

    @cached_property
    def _correct(self) -> Counter[int]:
        """The correctly predicted images, by label."""
        return Counter(label for label, answer in zip(self.labels, self.predicted, strict=True) if label == answer)

    def _rows(self) -> Iterator[tuple[str, int, int, tuple[float, ...]]]:
        return zip(self.names, self.labels, self.predicted, self.probabilities, strict=True)


def above(row: Sequence[float], thresholds: Sequence[float]) -> tuple[int, ...]:
    """Return the classes whose probability is at least their threshold."""
    return tuple(k for k, (score, threshold) in enumerate(zip(row, thresholds, strict=True)) if score >= threshold)


def _ratio(part: int, total: int) -> float | None:
    return part / total if total else None


def _calibration_bin(members: Sequence[tuple[float, bool]]) -> CalibrationBin:
    confidence = sum(confidence for confidence, _ in members) / len(members)
    return CalibrationBin(confidence, sum(correct for _, correct in members) / len(members), len(members))
