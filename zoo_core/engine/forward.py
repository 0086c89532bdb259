"""Sends inputs through a network for its answers alone, batch after batch; ranks share them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import torch
from torch import Tensor, nn

from zoo_core.engine.arithmetic import Arithmetic
from zoo_core.engine.ranks import Ranks
from zoo_core.results import Event, Progress


def answers(
    network: nn.Module,
    batches_of: Callable[[Tensor], Iterable[Tensor]],
    total: int,
    device: torch.device,
    *,
    arithmetic: Arithmetic,
    ranks: Ranks,
    what: str,
) -> Generator[Event, None, Tensor]:
    """Return what a network, in evaluation mode, makes of `total` inputs: (total, …) float32, in order.

    Each rank sends its share, which `batches_of` turns from indices (n,) into float32 batches; all get all answers.
    """
    mine = ranks.share(torch.arange(total))
    some = mine if len(mine) else torch.tensor([0])  # more ranks than inputs: what comes of it is not gathered
    rows: list[Tensor] = []
    for batch in batches_of(some):
        with torch.inference_mode(), arithmetic.applied(device):  # never across a yield: the mode is the thread's
            rows.append(network(arithmetic.ready(batch, device)).float().cpu())
        yield Progress(what, sum(map(len, rows)), len(some), "images")
    return ranks.gathered(torch.cat(rows)[: len(mine)], total)
