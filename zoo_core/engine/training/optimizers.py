"""PyTorch's optimizers from a recipe's settings, and their state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.cards.fields import resolve
from zoo_core.engine.training.parameter_groups import SCALE
from zoo_core.errors import PluginError
from zoo_core.recipes.component_choice import OptimizerChoice
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.settings import SGD, Adam, AdamW

OptimizerSettings = Adam | AdamW | SGD | OptimizerChoice
NUMBER = "#number"  # suffix of the names of values that are Python numbers, not tensors


def make_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter | dict[str, Any]], *, fused: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer of the parameters that require gradients, or of PyTorch's groups of parameters.

    `fused` selects PyTorch's fused implementation.

    Raises:
        PluginError: a plugin's optimizer is not a `torch.optim.Optimizer`.
    """
    classes: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    trainable = [entry for entry in parameters if isinstance(entry, dict) or entry.requires_grad]
    if isinstance(settings, OptimizerChoice):
        optimizer = resolve(settings.component.build)(trainable, **settings.settings)
        if not isinstance(optimizer, torch.optim.Optimizer):
            why = f"it is a {type(optimizer).__name__}, not a torch.optim.Optimizer"
            raise PluginError(f"the optimizer {settings.name} is invalid", why=why)
        return optimizer
    values = settings.model_dump(exclude={"name", "decay_biases"})  # the second is for `parameter_groups`
    return classes[settings.name](trainable, **values, fused=fused or None)


def scheduled_rate(recipe: Recipe, done: float, step: float = 0.0) -> float:
    """Return the learning rate after the fraction `done`, 0 to 1, of all steps of a run.

    Args:
        recipe: its optimizer, schedule and warmup.
        done: the finished share of all steps.
        step: the share that one step is. While the rate rises it counts the step to be taken, so that the first step
            has a rate above 0.
    """
    if done < recipe.warmup:
        return recipe.optimizer.lr * min(1.0, (done + step) / recipe.warmup)
    if recipe.schedule == "constant":
        return recipe.optimizer.lr
    after = (done - recipe.warmup) / (1 - recipe.warmup) if recipe.warmup < 1 else 0.0
    return recipe.optimizer.lr * (1 + math.cos(math.pi * after)) / 2


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step; a group's is a multiple of it if `layer_decay` says so."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SCALE, 1.0)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named "<parameter number>.<what>"; a number is a scalar tensor.

    Raises:
        PluginError: its state contains something else than tensors and numbers.
    """
    state = optimizer.state_dict()["state"]
    return dict(_named(f"{number}.{what}", value) for number, entry in state.items() for what, value in entry.items())


def _named(name: str, value: object) -> tuple[str, Tensor]:
    if isinstance(value, Tensor):
        return name, value
    if isinstance(value, int | float):
        dtype = torch.float64 if isinstance(value, float) else torch.bool if isinstance(value, bool) else torch.int64
        return name + NUMBER, torch.tensor(value, dtype=dtype)
    why = f"{name} is a {type(value).__name__}; checkpoints contain tensors and numbers"
    raise PluginError("the optimizer's state cannot be saved", why=why)


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
        entry = state["state"].setdefault(int(number), {})
        if what.endswith(NUMBER):
            entry[what.removesuffix(NUMBER)] = value.item()
        else:
            entry[what] = _in_format_of(parameters[int(number)], value)
    optimizer.load_state_dict(state)


def _in_format_of(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.shape == parameter.shape else value
