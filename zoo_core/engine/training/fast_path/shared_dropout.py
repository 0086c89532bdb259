"""Lets dropout draw for the whole batch where ranks share it, so that what it drops does not depend on their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class SharedDropout(TorchFunctionMode):
    """Inside, each rank draws what one process would draw for all `count` examples, and takes its own rows of it.

    It holds for `nn.Dropout`. Other random layers draw for each rank alone.
    """

    def __init__(self, count: int, rows: Tensor) -> None:
        super().__init__()
        self._count, self._rows = count, rows

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        if func is F.dropout and len(args[0]) == len(self._rows):
            return self._dropped(args[0], **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropped(self, inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p in (0.0, 1.0):
            return F.dropout(inputs, p, training, inplace)
        whole = torch.empty(self._count, *inputs.shape[1:], dtype=inputs.dtype, device=inputs.device)
        return inputs * whole.bernoulli_(1 - p).div_(1 - p)[self._rows]
