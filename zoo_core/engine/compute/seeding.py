"""Randomness as a pure function of the place in the work, so that no generator's state need be kept to go on."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def seed_for(*place: int | str) -> int:
    """Return a seed (63 bits) for a place such as (recipe seed, "step", epoch, step)."""
    return int.from_bytes(sha256(repr(place).encode()).digest()[:8], "big") >> 1


def seed_torch(*place: int | str) -> None:
    """Let everything that torch draws from here on depend on the place alone.

    As torch.manual_seed, without its walk up the stack for devices that were never used: that costs more than an
    image's augmentation.
    """
    torch.default_generator.manual_seed(seed_for(*place))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed_for(*place))


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order, (count,) int64, in which an epoch visits the examples."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))
