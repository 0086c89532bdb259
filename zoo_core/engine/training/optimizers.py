"""PyTorch's optimizers from a recipe's settings, and their state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from zoo_core.recipes import SGD, Adam, AdamW, Recipe

OptimizerSettings = Adam | AdamW | SGD


def make_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter], *, fused: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer of the parameters that require gradients; `fused` selects PyTorch's fused implementation."""
    classes: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return classes[settings.name](trainable, **settings.model_dump(exclude={"name"}), fused=fused or None)


def scheduled_rate(recipe: Recipe, done: float) -> float:
    """Return the learning rate after the fraction `done`, 0 to 1, of all steps of a run."""
    if recipe.schedule == "constant":
        return recipe.optimizer.lr
    return recipe.optimizer.lr * (1 + math.cos(math.pi * done)) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named "<parameter number>.<what>"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{what}": value for number, entry in state.items() for what, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` returned.

    Each tensor gets the memory format of its parameter. A fused step reads both in memory order, and would otherwise
    silently combine values of different positions.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {}
    for name, value in tensors.items():
        number, _, what = name.partition(".")
        state["state"].setdefault(int(number), {})[what] = _in_format_of(parameters[int(number)], value)
    optimizer.load_state_dict(state)


def _in_format_of(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.shape == parameter.shape else value
