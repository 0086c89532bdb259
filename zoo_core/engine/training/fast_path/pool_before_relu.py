"""Pools before it rectifies, where a model does it the other way round: the same numbers, and a quarter of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from torch import nn


@contextmanager
def pool_before_relu(model: nn.Module) -> Iterator[None]:
    """Inside, a ReLU that a MaxPool2d follows in a Sequential comes after it; afterwards all is as it was.

    The largest of rectified numbers is the largest number, rectified, and the gradient goes the same way, so outputs
    and gradients are the same to the last bit. Neither has parameters: names stay.
    """
    found = [
        (parts, place) for parts in model.modules() if isinstance(parts, nn.Sequential) for place in _places(parts)
    ]
    _exchange(found)
    try:
        yield
    finally:
        _exchange(found)


def _exchange(found: list[tuple[nn.Sequential, int]]) -> None:
    for parts, place in found:
        parts[place], parts[place + 1] = parts[place + 1], parts[place]


def _places(parts: nn.Sequential) -> list[int]:
    pairs = enumerate(pairwise(parts))
    return [place for place, (one, next_) in pairs if type(one) is nn.ReLU and _pools(next_)]


def _pools(module: nn.Module) -> bool:
    return type(module) is nn.MaxPool2d and not module.return_indices
