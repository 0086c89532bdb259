"""Turns PyTorch's error about too small a batch for BatchNorm into a UsageError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zoo_core.errors import UsageError
from zoo_core.recipes.recipe import Recipe


@contextmanager
def explained_batch_norm(recipe: Recipe) -> Iterator[None]:
    """Inside, BatchNorm's ValueError for a single value per channel is a UsageError."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        raise UsageError(
            f"batches of {recipe.batch_size} are too small for this model",
            why="BatchNorm needs at least two values per channel, in the batch or in each process's share of it",
            fix=f"zoo run {recipe.name} --batch-size {2 * recipe.batch_size}",
        ) from error
