from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from zoo_core.engine.models.build import state_hash
from zoo_core.engine.training.fast_path.pool_before_relu import pool_before_relu


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(first, nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1), nn.Flatten())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_the_same_to_the_last_bit(dtype: torch.dtype) -> None:
    model = network()
    other, images = copy.deepcopy(model), torch.randn(8, 1, 20, 20).round(decimals=1)  # with many ties
    outputs = []
    for one, rearranged in ((model, False), (other, True)):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            if rearranged:
                with pool_before_relu(one):
                    outputs.append(one(images))
                    outputs[-1].float().square().sum().backward()
            else:
                outputs.append(one(images))
                outputs[-1].float().square().sum().backward()
    assert torch.equal(*outputs)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


def kinds(model: nn.Module) -> list[str]:
    return [type(part).__name__ for part in model.children()]


def test_layers_are_swapped_inside_and_restored_afterwards() -> None:
    model = network()
    before, names, state = repr(model), list(model.state_dict()), state_hash(model)
    with pool_before_relu(model):
        assert kinds(model) == ["Sequential", "Conv2d", "MaxPool2d", "ReLU", "Flatten"]
        assert kinds(model[0]) == ["Conv2d", "MaxPool2d", "ReLU"]
        assert (list(model.state_dict()), state_hash(model)) == (names, state)
    assert repr(model) == before


def interrupted(model: nn.Module) -> None:
    with pool_before_relu(model):
        raise KeyboardInterrupt


def test_layers_are_restored_after_an_interrupt() -> None:
    model = network()
    with pytest.raises(KeyboardInterrupt):
        interrupted(model)
    assert repr(model) == repr(network())


def test_other_layers_are_not_swapped() -> None:
    indices = nn.MaxPool2d(2, return_indices=True)
    parts = [nn.ReLU(), nn.AvgPool2d(2), nn.LeakyReLU(), nn.MaxPool2d(2), nn.ReLU(), indices]
    model = nn.Sequential(*parts)
    with pool_before_relu(model):
        assert list(model) == parts
