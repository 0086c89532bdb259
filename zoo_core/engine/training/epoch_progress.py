"""How far an epoch has come."""

from __future__ import annotations

from dataclasses import dataclass

from zoo_core.engine.compute.distributed import World
from zoo_core.events import TrainState

TOTALS = "totals"  # the key, in a TrainState's values, of every rank's sum of losses


@dataclass(frozen=True)
class EpochProgress:
    """The finished part of an epoch: steps, and this rank's sum of the batch losses."""

    step: int = 0
    total: float = 0.0

    @classmethod
    def of(cls, state: TrainState, world: World) -> EpochProgress:
        """Return the progress a state records; a different number of ranks shares the sum equally."""
        totals: list[float] = state.values[TOTALS]
        return cls(state.step, totals[world.rank] if len(totals) == world.count else sum(totals) / len(totals))
