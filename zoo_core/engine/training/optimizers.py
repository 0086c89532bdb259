"""From an optimizer's settings to PyTorch's optimizer; and its state as tensors by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from zoo_core.recipes import SGD, Adam, AdamW, Recipe

Settings = Adam | AdamW | SGD


def make_optimizer(
    settings: Settings, parameters: Iterable[nn.Parameter], *, fused: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer over those parameters that are to be trained; `fused` takes its step in one pass."""
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return kinds[settings.name](trainable, **settings.model_dump(exclude={"name"}), fused=fused or None)


def scheduled_rate(recipe: Recipe, done: float) -> float:
    """Return the learning rate when the fraction `done` of all steps is taken: a function of the place alone."""
    if recipe.schedule == "constant":
        return recipe.optimizer.lr
    return recipe.optimizer.lr * (1 + math.cos(math.pi * done)) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step be taken at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named "<parameter number>.<what>"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{what}": value for number, entry in state.items() for what, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned.

    Each tensor is laid out in memory as its parameter is: a fused step takes them all in the order in which they lie,
    and would mix them up without a word.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    whole = optimizer.state_dict()
    whole["state"] = {}
    for name, value in tensors.items():
        number, _, what = name.partition(".")
        whole["state"].setdefault(int(number), {})[what] = _laid_out_as(parameters[int(number)], value)
    optimizer.load_state_dict(whole)


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.shape == parameter.shape else value
