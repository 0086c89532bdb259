"""Compares epochs by a metric: which is the best, which is kept, and when to stop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from zoo_core.errors import UsageError
from zoo_core.events import EpochResult
from zoo_core.metrics import for_task, higher_is_better
from zoo_core.recipes.plan import Plan
from zoo_core.results import KeptEpoch, words


@dataclass(frozen=True)
class Monitor:
    """A recipe's `keep`, `monitor` and `patience`. All answers depend on the epochs' metrics alone.

    So a resumed run, which has the metrics of its finished epochs, needs no other state.
    """

    recipe: str
    metric: str
    keep: Literal["last", "best"]
    patience: int | None

    @classmethod
    def of(cls, plan: Plan) -> Monitor:
        """Return the monitor of a plan; for multi-label data, mean average precision takes the place of accuracy."""
        recipe = plan.recipe
        return cls(recipe.name, for_task(recipe.monitor, plan.task), recipe.keep, recipe.patience)

    @property
    def is_used(self) -> bool:
        """Whether anything depends on the metric."""
        return self.keep == "best" or self.patience is not None

    def require(self, measured: Collection[str]) -> None:
        """Refuse to train if the metric is not one of those that will be measured.

        Raises:
            UsageError: it is not, and something depends on it.
        """
        if self.is_used and self.metric not in measured:
            close = get_close_matches(self.metric, measured, n=1) or ["loss"]
            raise UsageError(
                f"there is no metric {self.metric!r} to compare epochs by",
                why=f"this run measures {', '.join(measured)}",
                fix=f"zoo run {self.recipe} --set monitor={close[0]}",
            )

    def check(self, result: EpochResult) -> None:
        """Check that an epoch has the metric, and that it is known which values are better.

        Raises:
            UsageError: it has not, or it is a plain number; and something depends on it.
        """
        self.require(result.metrics)
        if self.is_used and higher_is_better(self.metric, result.kinds) is None:
            raise UsageError(
                f"epochs cannot be compared by {self.metric}",
                why="it is neither a fraction nor a loss; a trainer declares that in EpochResult.kinds",
                fix=f"zoo run {self.recipe} --set monitor=loss",
            )

    def best(self, epochs: Sequence[EpochResult]) -> int:
        """Return the index of the best epoch, the first of equals."""
        sign = 1 if higher_is_better(self.metric, epochs[0].kinds) else -1
        return max(range(len(epochs)), key=lambda index: sign * epochs[index].metrics[self.metric])

    def kept(self, epochs: Sequence[EpochResult]) -> int:
        """Return the index of the epoch whose weights are kept: the best or the last."""
        return self.best(epochs) if self.keep == "best" else len(epochs) - 1

    def is_exhausted(self, epochs: Sequence[EpochResult]) -> bool:
        """Return whether the last `patience` epochs were all no better than one before them."""
        return self.patience is not None and bool(epochs) and len(epochs) - 1 - self.best(epochs) >= self.patience

    def outcome(self, epochs: Sequence[EpochResult]) -> KeptEpoch | None:
        """Return which epoch is kept, and why training stopped early if it did; None: there are no epochs."""
        if not epochs:
            return None
        stopped = ""
        if self.is_exhausted(epochs) and len(epochs) < epochs[-1].epochs:
            count = f"{self.patience} epoch{'' if self.patience == 1 else 's'}"
            stopped = (
                f"stopped after epoch {len(epochs)} of {epochs[-1].epochs}: no better {words(self.metric)} for {count}"
            )
        by = self.metric if self.keep == "best" else ""
        return KeptEpoch(epochs[self.kept(epochs)].epoch, len(epochs), by, stopped)
