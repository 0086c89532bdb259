"""Reads images ahead in threads, and returns them in batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from zoo_core.cards.models import ImageInput

Item = TypeVar("Item")
Result = TypeVar("Result")


def inference_batch_size(spec: ImageInput) -> int:
    """Return a batch size for inference: about 8 million input values per batch."""
    return max(1, min(1024, 2**23 // (spec.channels * spec.size**2)))


def prefetch_map(function: Callable[[Item], Result], items: Iterable[Item], batch_size: int) -> Iterator[list[Result]]:
    """Yield function(item) for all items, in order and in batches; threads compute the next batch meanwhile."""
    waiting, pending = iter(items), deque[Future[Result]]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            while True:
                pending.extend(pool.submit(function, item) for item in islice(waiting, 2 * batch_size - len(pending)))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
