"""Examples for tests of the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class RecordedExamples:
    """Small images that record the order in which they are read."""

    seen: list[tuple[int, int]] = field(default_factory=list)

    @property
    def labels(self) -> Tensor:
        return torch.arange(14) % 2

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, range(14)))

    @property
    def inference_batch_size(self) -> int:
        return 4

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        images = torch.randn(14, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        for indices in batches:
            self.seen.extend((epoch, index) for index in indices.tolist())
            yield images[indices]
