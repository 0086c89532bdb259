"""An optimizer restored from a file takes the same steps, whatever the memory format of its tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import zoo_core as zoo
from zoo_core.recipes.settings import SGD, Adam, AdamW


def model() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, kernel_size=3).to(memory_format=torch.channels_last)


def step(one: nn.Conv2d, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad()
    one(torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
    optimizer.step()


def as_a_file_holds_it(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


@pytest.mark.parametrize("settings", [Adam(), AdamW(name="adamw"), SGD(name="sgd", lr=0.1, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("fused", [True, False])
def test_an_optimizer_restored_from_a_file_takes_the_same_steps(settings: Adam | AdamW | SGD, fused: bool) -> None:
    through, resumed = model(), model()
    optimizer = zoo.make_optimizer(settings, through.parameters(), fused=fused)
    step(through, optimizer, 1)
    resumed.load_state_dict(as_a_file_holds_it(through.state_dict()))
    again = zoo.make_optimizer(settings, resumed.parameters(), fused=fused)
    zoo.restore_optimizer(again, as_a_file_holds_it(zoo.optimizer_tensors(optimizer)))
    for one, its_optimizer in ((through, optimizer), (resumed, again)):
        step(one, its_optimizer, 2)
    assert torch.equal(through.weight, resumed.weight)
