"""What a search may change in a recipe whose backbone is frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo_core.engine.tuning.fold_scores import HIDDEN
from zoo_core.recipes.recipe import Recipe

if TYPE_CHECKING:
    import optuna

UNITS = (32, 128)  # more take many seconds per trial, and overfit a few hundred images
SHARED_SETTINGS = ("allow_random", "feature_batch_size", "hold_bytes")  # of both trainers


@dataclass(frozen=True)
class SearchSpace:
    """The settings of the recipe's head that are searched: all but those that the user has fixed."""

    recipe: Recipe
    models: Sequence[str]  # the recipe's own first
    fixed: frozenset[str] = frozenset()  # dotted keys

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the fields of the recipe that a trial changes."""
        chosen: dict[str, Any] = {}
        if len(self.models) > 1:
            chosen["model"] = trial.suggest_categorical("model", self.models)
        if self._is_linear_only or self._suggest_linear(trial):
            return chosen | self._linear(trial)
        return chosen | self._hidden(trial)

    @property
    def _is_linear_only(self) -> bool:
        """Whether the user has fixed the kind of the head, or something that only this kind has."""
        return any(key in ("head_units", "trainer", "balance") or key.startswith("settings.") for key in self.fixed)

    def _suggest_linear(self, trial: optuna.Trial) -> bool:
        return bool(trial.suggest_categorical("head", ("linear", "hidden")) == "linear")

    def _linear(self, trial: optuna.Trial) -> dict[str, Any]:
        """Logistic regression: its strength, whether features are standardized, and class weights."""
        changes: dict[str, Any] = {
            "settings.strengths": [_rounded(trial.suggest_float("strength", 1e-4, 1e2, log=True))]
        }
        if trial.suggest_categorical("standardize", (False, True)):
            changes["settings.standardize"] = True
        if balance := trial.suggest_categorical("balance", (0.0, 0.5, 1.0)):
            changes["balance"] = balance
        return {key: value for key, value in changes.items() if key not in self.fixed}

    def _hidden(self, trial: optuna.Trial) -> dict[str, Any]:
        """A hidden layer, trained by minibatches: its width, the optimizer and how long."""
        rate = _rounded(trial.suggest_float("lr", 1e-4, 1e-2, log=True))
        decay = _rounded(trial.suggest_float("weight_decay", 1e-4, 1.0, log=True))
        changes: dict[str, Any] = {
            "head_units": trial.suggest_categorical("units", UNITS),
            "epochs": trial.suggest_int("epochs", 5, 15),
            "batch_size": 64,
            "schedule": "cosine",
            "optimizer": {"name": "adamw", "lr": rate, "weight_decay": decay},
        }
        changes = {key: value for key, value in changes.items() if key not in self.fixed}
        return {**changes, "trainer": HIDDEN, "settings": self._shared_settings}

    @property
    def _shared_settings(self) -> Mapping[str, Any]:
        return {name: value for name, value in self.recipe.settings.items() if name in SHARED_SETTINGS}


def _rounded(value: float) -> float:
    """Return three significant digits: a command that repeats the trial stays readable."""
    return float(f"{value:.3g}")
