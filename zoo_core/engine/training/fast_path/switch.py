"""The single switch for everything that training does differently from PyTorch's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from zoo_core.engine.compute.memory import retain_freed_memory
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.training.fast_path.pool_before_relu import pool_before_relu


@contextmanager
def fast_path(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Inside, training may reorder the model's layers and change the process's allocator; afterwards both are restored.

    Both are skipped where the precision asks for PyTorch's defaults. Channels-last tensors and the fused optimizer
    depend on the same flag, `Precision.fast_path`.
    """
    if not precision.fast_path:
        yield
        return
    # Freed memory is retained during training only: many decoding threads would fragment the retained heap.
    with retain_freed_memory(), pool_before_relu(model):
        yield
