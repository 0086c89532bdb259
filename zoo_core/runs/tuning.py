"""What a search of settings tried, and which configuration it takes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import Any, Literal

from zoo_core.metrics import wilson
from zoo_core.runs.backbones import run_command

Criterion = Literal["loss", "accuracy"]
DEFAULT_TRIAL = 0  # the recipe's own settings


@dataclass(frozen=True)
class Trial:
    """One configuration: the recipe's fields that it changes, and its scores in every fold of every repetition."""

    number: int
    overrides: Mapping[str, Any]
    losses: tuple[float, ...]  # mean over the held-out images of a fold
    accuracies: tuple[float, ...]  # fractions of 1
    seconds: float

    @property
    def loss(self) -> float:
        """The mean over the folds."""
        return fmean(self.losses)

    @property
    def accuracy(self) -> float:
        """The mean over the folds."""
        return fmean(self.accuracies)

    def cost(self, criterion: Criterion) -> float:
        """What the search minimizes: the loss, or one minus the accuracy."""
        return self.loss if criterion == "loss" else 1 - self.accuracy


@dataclass(frozen=True)
class Gain:
    """By how much one trial is better than another in the same folds, and the standard error of that."""

    mean: float
    error: float

    @classmethod
    def of(cls, better: Sequence[float], worse: Sequence[float], folds: int) -> Gain:
        """Compare costs, fold by fold.

        The standard error is that of Nadeau and Bengio, "Inference for the generalization error" (2003): the folds
        share training images, so the usual one, which divides the variance by their number, is too small.
        """
        gains = [old - new for new, old in zip(better, worse, strict=True)]
        spread = variance(gains) if len(gains) > 1 else inf
        return cls(fmean(gains), sqrt(spread * (1 / len(gains) + 1 / (folds - 1))))


@dataclass(frozen=True)
class Tuning:
    """A search: its trials by number. The first trial has the recipe's own settings."""

    recipe: str
    folder: Path | None  # the user's images
    settings: Mapping[str, Any]  # fields of the recipe that the user changed for all trials
    criterion: Criterion
    folds: int
    images: int  # that a configuration is chosen by
    trials: tuple[Trial, ...]
    seconds: float = 0.0
    directory: Path = Path()
    run: Path | None = None  # the run with the chosen configuration
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the run

    @property
    def default(self) -> Trial:
        """The recipe's own settings."""
        return self.trials[DEFAULT_TRIAL]

    @property
    def best(self) -> Trial:
        """The trial with the smallest cost, which may be luck."""
        return min(self.trials, key=lambda trial: (trial.cost(self.criterion), trial.number))

    def gain(self, trial: Trial) -> Gain:
        """Return by how much a trial is better than the default, in the criterion's unit."""
        if self.criterion == "loss":
            return Gain.of(trial.losses, self.default.losses, self.folds)
        errors = [[1 - share for share in one.accuracies] for one in (trial, self.default)]
        return Gain.of(errors[0], errors[1], self.folds)

    def is_better(self, trial: Trial) -> bool:
        """Whether a trial may replace the default: better by more than a standard error, and not less accurate."""
        gain = self.gain(trial)
        return gain.mean > gain.error and trial.accuracy >= self.default.accuracy

    @cached_property
    def chosen(self) -> Trial:
        """The best trial of those that may replace the default; otherwise the default."""
        better = [trial for trial in self.trials if self.is_better(trial)]
        return min(better, key=lambda trial: (trial.cost(self.criterion), trial.number), default=self.default)

    @property
    def command(self) -> str:
        """The command that trains the chosen configuration again."""
        return run_command(self.recipe, self.folder, {**self.settings, **self.chosen.overrides})

    def interval(self, trial: Trial) -> tuple[float, float]:
        """Return the 95 % interval of a trial's accuracy on this many images."""
        return wilson(round(trial.accuracy * self.images), self.images)

    @property
    def costs_so_far(self) -> list[float]:
        """The smallest cost up to each trial."""
        smallest = inf
        return [smallest := min(smallest, trial.cost(self.criterion)) for trial in self.trials]

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values, without the folds."""
        gain = self.gain(self.chosen)
        return {
            "recipe": self.recipe,
            "data": None if self.folder is None else str(self.folder),
            "directory": str(self.directory),
            "run": None if self.run is None else str(self.run),
            "metrics": dict(self.metrics),
            "command": self.command,
            "criterion": self.criterion,
            "images": self.images,
            "trials": len(self.trials),
            "seconds": self.seconds,
            "default": _plain(self.default),
            "chosen": _plain(self.chosen),
            "best": _plain(self.best),
            "gain": gain.mean,
            "standard_error": gain.error,
        }

    def to_csv(self) -> bytes:
        """Return one line per trial; what it changes in the recipe is JSON."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "loss", "accuracy", "seconds", "overrides"])
        for trial in self.trials:
            numbers = (f"{trial.loss:.6f}", f"{trial.accuracy:.6f}", f"{trial.seconds:.3f}")
            writer.writerow([trial.number, *numbers, json.dumps(dict(trial.overrides))])  # no cell is a formula
        return text.getvalue().encode("utf-8", "surrogateescape")


def _plain(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "overrides": dict(trial.overrides),
        "loss": trial.loss,
        "accuracy": trial.accuracy,
        "seconds": trial.seconds,
    }
