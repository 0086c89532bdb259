"""How an epoch is cut into batches, and each batch into one shard per rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_core.engine.compute.distributed import World


@dataclass(frozen=True)
class BatchShard:
    """One rank's part of a batch, and the weight of its mean loss in the mean over the ranks."""

    indices: Tensor  # (n,) of examples
    weight: float

    @classmethod
    def of(cls, batch: Tensor, world: World) -> BatchShard:
        """Return this rank's shard of a batch (N,).

        Every rank must take every step. A rank for which nothing is left takes one example with weight 0.
        """
        indices = world.shard(batch)
        weight = len(indices) * world.count / len(batch)
        return cls(indices if len(indices) else batch[:1], weight)

    def parts(self, count: int) -> list[slice]:
        """Cut the shard into at most `count` parts, each of two or more examples for BatchNorm's sake."""
        total = len(self.indices)
        count = max(1, min(count, total // 2))
        return [slice(total * part // count, total * (part + 1) // count) for part in range(count)]


def split_batches(order: Tensor, batch_size: int, *, merge_single: bool = True) -> list[Tensor]:
    """Cut an epoch's order (N,) into batches; a last batch of one example joins the batch before it.

    BatchNorm cannot compute the variance of a single example. The rule depends on N and the batch size alone, so it is
    the same for every world size and after a resume. `merge_single=False` is the rule of checkpoints that were written
    before it.
    """
    batches = list(torch.split(order, batch_size))
    if merge_single and batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
