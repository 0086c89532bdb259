"""Backbones with a linear head each, measured on the same images, and which of them to take."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import comb, erfc, sqrt
from pathlib import Path
from typing import Any, Literal

from zoo_core.metrics import wilson

SIGNIFICANT = 0.05  # a smaller p-value means that two backbones differ
EXACT = 1000  # images on which two backbones disagree: up to here, the test is exact

Mark = Literal["best", "recommended", "as good", ""]


@dataclass(frozen=True)
class BackboneScore:
    """What one backbone reaches with a linear head, and what it costs; or, with `error`, why it was not measured.

    `outcomes` says for each image whether it is classified correctly: the validation images first, then the training
    images, each by the fold of the cross-validation that did not train on it.
    """

    model: str
    error: str = ""
    weights: str = ""
    outcomes: tuple[bool, ...] = field(default=(), repr=False)
    images: int = 0  # validation images; 0: the data has none, and the training images are the measure
    balanced_accuracy: float = 0.0  # the mean recall of the classes, on the same images as `accuracy`
    cross_validation_accuracy: float = 0.0  # inside the training images, at the chosen strength
    milliseconds: float = 0.0  # per picture, in batches, without reading the file
    bytes: int = 0  # of the weights
    parameters: int = 0

    @property
    def measured(self) -> tuple[bool, ...]:
        """The outcomes that `accuracy` counts."""
        return self.outcomes[: self.images] if self.images else self.outcomes

    @property
    def accuracy(self) -> float:
        """A fraction of 1: of the validation images, or else of the held-out training images."""
        return sum(self.measured) / max(1, len(self.measured))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `accuracy`."""
        return wilson(sum(self.measured), len(self.measured))

    def differs_from(self, other: BackboneScore) -> float:
        """Return the p-value of McNemar's test: how likely images on which only one is right are split so unevenly."""
        pairs = list(zip(self.outcomes, other.outcomes, strict=False))
        wins, losses = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
        return mcnemar(wins, losses)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the outcomes as plain values."""
        if self.error:
            return {"model": self.model, "error": self.error}
        low, high = self.interval
        return {
            "model": self.model,
            "weights": self.weights,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": self.balanced_accuracy,
            "cross_validation_accuracy": self.cross_validation_accuracy,
            "milliseconds": self.milliseconds,
            "bytes": self.bytes,
            "parameters": self.parameters,
        }


@dataclass(frozen=True)
class BackboneRanking:
    """Backbones by accuracy, the best first; those that could not be measured are last."""

    data: str
    classes: int
    training_images: int
    device: str
    precision: str
    scores: tuple[BackboneScore, ...]
    recipe: str = "transfer"  # whose head they got
    folder: Path | None = None  # the user's images; None: the recipe's dataset
    settings: Mapping[str, Any] = field(default_factory=dict)  # fields of the recipe that were changed for all

    def __iter__(self) -> Iterator[BackboneScore]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def measured(self) -> tuple[BackboneScore, ...]:
        """The backbones that were measured."""
        return tuple(score for score in self.scores if not score.error)

    @property
    def failed(self) -> tuple[BackboneScore, ...]:
        """The backbones that were not."""
        return tuple(score for score in self.scores if score.error)

    @property
    def split(self) -> str:
        """The images that accuracies count: "validation", or "cross-validation" where there are none."""
        return "validation" if any(score.images for score in self.measured) else "cross-validation"

    @property
    def best(self) -> BackboneScore | None:
        """The most accurate one; None: none was measured."""
        return next(iter(self.measured), None)

    @cached_property
    def as_good(self) -> tuple[BackboneScore, ...]:
        """The best one, and those inside its 95 % interval that McNemar's test cannot tell from it."""
        best = self.best
        if best is None:
            return ()
        low, _ = best.interval
        return tuple(
            score
            for score in self.measured
            if score is best or (score.accuracy >= low and score.differs_from(best) >= SIGNIFICANT)
        )

    @cached_property
    def recommended(self) -> BackboneScore | None:
        """The fastest of those that are as good as the best."""
        return min(self.as_good, key=lambda score: (score.milliseconds, score.bytes), default=None)

    def mark(self, score: BackboneScore) -> Mark:
        """Return what a table says about one of the scores."""
        if score is self.recommended:
            return "recommended"
        if score is self.best:
            return "best"
        return "as good" if score in self.as_good else ""

    def command(self, score: BackboneScore) -> str:
        """Return the command that trains this head and saves it as a run."""
        return run_command(self.recipe, self.folder, {"model": score.model, **self.settings})

    def to_dict(self) -> dict[str, Any]:
        """Return the ranking as plain values."""
        return {
            "data": self.data,
            "classes": self.classes,
            "training_images": self.training_images,
            "validation_images": max((score.images for score in self.scores), default=0),
            "accuracy_of": self.split,
            "device": self.device,
            "precision": self.precision,
            "best": self.best.model if self.best else None,
            "recommended": self.recommended.model if self.recommended else None,
            "models": [{**score.to_dict(), "mark": self.mark(score)} for score in self.scores],
        }


def run_command(recipe: str, folder: Path | None, settings: Mapping[str, Any]) -> str:
    """Return the `zoo run` command of a recipe with these fields changed."""
    words = ["zoo", "run", recipe, *(["--data", str(folder)] if folder is not None else [])]
    for key, value in settings.items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def ranked(scores: list[BackboneScore]) -> tuple[BackboneScore, ...]:
    """Return scores by accuracy; of equals, by cross-validation accuracy, then by speed. Failures are last."""
    return tuple(
        sorted(
            scores,
            key=lambda one: (bool(one.error), -one.accuracy, -one.cross_validation_accuracy, one.milliseconds),
        )
    )


def mcnemar(wins: int, losses: int) -> float:
    """Return the two-sided p-value of McNemar's test: exact, or by the normal approximation above EXACT."""
    total, fewer = wins + losses, min(wins, losses)
    if total > EXACT:
        return erfc(max(0.0, abs(wins - losses) - 1) / sqrt(2 * total))
    as_uneven = 2 * sum(comb(total, k) for k in range(fewer + 1))
    return min(1.0, as_uneven / (1 << total))
