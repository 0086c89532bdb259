"""BatchNorm and small batches: frozen statistics, and a UsageError in place of PyTorch's ValueError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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


def freeze_statistics(model: nn.Module) -> None:
    """Let every BatchNorm normalize by its running statistics, and not update them, until `model.train()` is called.

    Its scale and shift are trained as before.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
