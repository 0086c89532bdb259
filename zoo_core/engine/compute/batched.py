"""Sends inputs through a network for its answers alone, batch after batch; ranks share them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import torch
from torch import Tensor, nn

from zoo_core.engine.compute.distributed import World
from zoo_core.engine.compute.precision import Precision
from zoo_core.events import Event, Progress


def infer_batches(
    network: nn.Module,
    batches_of: Callable[[Tensor], Iterable[Tensor]],
    total: int,
    device: torch.device,
    *,
    precision: Precision,
    world: World,
    what: str,
) -> Generator[Event, None, Tensor]:
    """Return what a network, in evaluation mode, makes of `total` inputs: (total, …) float32, in order.

    Each rank sends its share, which `batches_of` turns from indices (n,) into float32 batches; all get all answers.
    """
    mine = world.shard(torch.arange(total))
    some = mine if len(mine) else torch.tensor([0])  # more ranks than inputs: what comes of it is not gathered
    rows: list[Tensor] = []
    for batch in batches_of(some):
        with torch.inference_mode(), precision.autocast(device):  # never across a yield: the mode is the thread's
            rows.append(network(precision.to_device(batch, device)).float().cpu())
        yield Progress(what, sum(map(len, rows)), len(some), "images")
    return world.all_gather_rows(torch.cat(rows)[: len(mine)], total)
