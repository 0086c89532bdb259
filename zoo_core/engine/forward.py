"""Sends inputs through a network for its answers alone, batch after batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import torch
from torch import Tensor, nn

from zoo_core.engine.arithmetic import Arithmetic
from zoo_core.results import Event, Progress


def answers(
    network: nn.Module,
    batches: Iterable[Tensor],
    device: torch.device,
    arithmetic: Arithmetic,
    *,
    what: str,
    total: int,
) -> Generator[Event, None, Tensor]:
    """Return what a network, in evaluation mode, makes of float32 batches of `total` inputs: (total, …) float32."""
    rows: list[Tensor] = []
    for batch in batches:
        with torch.inference_mode(), arithmetic.applied(device):  # never across a yield: the mode is the thread's
            rows.append(network(arithmetic.ready(batch, device)).float().cpu())
        yield Progress(what, sum(map(len, rows)), total, "images")
    return torch.cat(rows)
