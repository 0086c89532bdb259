"""The processes that share a command's work, as far as opening images needs to know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Ranks(Protocol):
    """One process of several that `torchrun` started: `engine.compute.distributed.World`, or one process alone."""

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that audits images for all."""

    def broadcast(self, value: T) -> T:
        """Return the first rank's value."""


@dataclass(frozen=True)
class OneProcess:
    """A process that shares its work with no other."""

    is_first: bool = True

    def broadcast(self, value: T) -> T:
        """Return the value."""
        return value


ONE_PROCESS = OneProcess()
