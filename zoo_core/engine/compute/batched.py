"""Batched inference; ranks share the inputs."""

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
    """Return the outputs of a network in evaluation mode for `total` inputs: (total, ...) float32, in order.

    `batches_of` turns indices (n,) into float32 batches. Each rank computes its shard; all ranks get all outputs.
    """
    shard = world.shard(torch.arange(total))
    indices = shard if len(shard) else torch.tensor([0])  # more ranks than inputs: the output is not gathered
    rows: list[Tensor] = []
    for batch in batches_of(indices):
        with (
            torch.inference_mode(),
            precision.autocast(device),
        ):  # not across a yield: inference mode is a property of the thread
            rows.append(network(precision.to_device(batch, device)).float().cpu())
        yield Progress(what, sum(map(len, rows)), len(indices), "images")
    return world.all_gather_rows(torch.cat(rows)[: len(shard)], total)
