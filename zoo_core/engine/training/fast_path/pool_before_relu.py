"""Swaps ReLU followed by MaxPool2d: the same numbers for a quarter of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from torch import nn


@contextmanager
def pool_before_relu(model: nn.Module) -> Iterator[None]:
    """Inside, a ReLU that precedes a MaxPool2d in a Sequential runs after it; afterwards the model is restored.

    Both operations are monotonic, so they commute: outputs and gradients are the same to the last bit. Neither has
    parameters, so names in the state dict do not change.
    """
    pairs = [
        (layers, index) for layers in model.modules() if isinstance(layers, nn.Sequential) for index in _at(layers)
    ]
    _swap(pairs)
    try:
        yield
    finally:
        _swap(pairs)


def _swap(pairs: list[tuple[nn.Sequential, int]]) -> None:
    for layers, index in pairs:
        layers[index], layers[index + 1] = layers[index + 1], layers[index]


def _at(layers: nn.Sequential) -> list[int]:
    """Return the index of every ReLU that a MaxPool2d follows."""
    pairs = enumerate(pairwise(layers))
    return [index for index, (first, second) in pairs if type(first) is nn.ReLU and _is_max_pool(second)]


def _is_max_pool(module: nn.Module) -> bool:
    return type(module) is nn.MaxPool2d and not module.return_indices
