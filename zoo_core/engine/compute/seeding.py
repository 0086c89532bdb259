"""Random draws as a function of the position in a run, so that resuming needs no generator state."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def seed_for(*position: int | str) -> int:
    """Return a seed (63 bits) for a position such as (recipe seed, "step", epoch, step)."""
    return int.from_bytes(sha256(repr(position).encode()).digest()[:8], "big") >> 1


def seed_torch(*position: int | str) -> None:
    """Seed PyTorch's generators with a position in the run, so that what is drawn next depends on it alone.

    Like torch.manual_seed, but it skips devices that are not initialized: handling those costs more than augmenting an
    image.
    """
    torch.default_generator.manual_seed(seed_for(*position))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed_for(*position))


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order in which an epoch visits the examples, (count,) int64."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))
