"""Features that may not fit into memory: rows in memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from zoo_core.engine.compute.seeding import epoch_order

SHARD_ROWS = 4096  # 32 MB at 2,048 features; a killed computation loses at most this many images
WINDOW = 4  # shards that are shuffled together, and in memory at a time
NAME = "features"  # of the tensor in each file


@dataclass(frozen=True)
class FeatureShards:
    """Rows (N, D) in files of SHARD_ROWS rows each; the last may have fewer. A part that has no file is a tensor."""

    parts: tuple[Path | Tensor, ...]
    count: int
    width: int

    @classmethod
    def of(cls, parts: Sequence[Path | Tensor]) -> FeatureShards:
        """Take the parts of at least one row, in order."""
        last = _opened(parts[-1])
        return cls(tuple(parts), SHARD_ROWS * (len(parts) - 1) + len(last), last.shape[1])

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        """How many bytes the rows take in memory."""
        return 4 * self.count * self.width

    def load(self) -> Tensor:
        """Return all rows in memory, (N, D) float32."""
        return torch.cat([_opened(part).float() for part in self.parts])

    def chunks(self) -> Iterator[Tensor]:
        """Yield all rows in order, a shard (n, D) float32 at a time."""
        return (_opened(part).float() for part in self.parts)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield (n, D) float32 for each batch of indices; shards that were used last stay in memory."""
        held: dict[int, Tensor] = {}
        for indices in batches:
            numbers, places = indices // SHARD_ROWS, indices % SHARD_ROWS
            rows = torch.empty(len(indices), self.width)
            for number in sorted(set(numbers.tolist())):
                shard = held.pop(number) if number in held else _opened(self.parts[number]).clone()
                held[number] = shard  # the newest are last
                here = numbers == number
                rows[here] = shard[places[here]].float()
            for number in list(held)[: -2 * WINDOW]:
                del held[number]
            yield rows

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return all indices, shuffled so that few shards are in use at a time: shards, then rows in WINDOW of them."""
        shards = epoch_order(seed, epoch, len(self.parts))
        order = torch.empty(self.count, dtype=torch.int64)
        done = 0
        for number, window in enumerate(torch.split(shards, WINDOW)):
            rows = torch.cat([self._indices(shard) for shard in window.tolist()])
            order[done : done + len(rows)] = rows[epoch_order(seed, epoch * len(shards) + number + 1, len(rows))]
            done += len(rows)
        return order

    def _indices(self, shard: int) -> Tensor:
        return torch.arange(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.count))


def _opened(part: Path | Tensor) -> Tensor:
    """Return a shard's rows; those of a file are read from disk when they are used."""
    if isinstance(part, Tensor):
        return part
    with safe_open(part, framework="pt") as file:
        rows: Tensor = file.get_tensor(NAME)
    return rows
