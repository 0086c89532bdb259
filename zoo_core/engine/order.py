"""Randomness as a pure function of the place in the work, so that no generator's state need be kept to go on."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def seed_for(*place: int | str) -> int:
    """Return a seed (63 bits) for a place such as (recipe seed, "step", epoch, step)."""
    return int.from_bytes(sha256(repr(place).encode()).digest()[:8], "big") >> 1


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order, (count,) int64, in which an epoch visits the examples."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))
