"""The optimized copy of a network gives the same outputs, and leaves the network unchanged."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from zoo_core import ImageInput, Registry
from zoo_core.engine.compute.precision import FLOAT32, Precision
from zoo_core.engine.models.build import build_model, state_hash
from zoo_core.engine.models.inference import fold_batchnorm, optimize_for_inference

CPU = torch.device("cpu")
BFLOAT16 = Precision(torch.bfloat16)
SPEC = ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def network(pond: Registry) -> nn.Module:
    """A network whose BatchNorm has running statistics, so that folding changes weights."""
    torch.manual_seed(0)
    model = build_model(pond.model("pond-net")).train()
    for _ in range(5):
        model(torch.randn(8, 3, 8, 8) * 3 + 1)
    return model.eval()


def test_full_precision_uses_the_model_itself(network: nn.Module) -> None:
    assert optimize_for_inference(network, SPEC, FLOAT32) is network


def test_folding_gives_the_same_outputs_with_fewer_modules(network: nn.Module) -> None:
    images = torch.randn(4, 3, 8, 8)
    wanted = network(images)
    folded = fold_batchnorm(network)
    torch.testing.assert_close(folded(images), wanted, atol=1e-5, rtol=1e-5)
    assert isinstance(folded.bn, nn.Identity)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_folding_works_for_timm_networks(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        wanted = model(images)
        torch.testing.assert_close(fold_batchnorm(model)(images), wanted, atol=1e-4, rtol=1e-4)


def test_16_bit_outputs_are_close_and_the_network_is_unchanged(network: nn.Module) -> None:
    images, before = torch.randn(4, 3, 8, 8), state_hash(network)
    with torch.inference_mode():
        fast = optimize_for_inference(network, SPEC, BFLOAT16)(images)
        torch.testing.assert_close(fast, network(images), atol=0.05, rtol=0.05)
    assert state_hash(network) == before


class Misleading(nn.Module):
    """Its `bn1` does not follow its `conv1`: folding by name would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.bn1.running_mean += 5

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv1(self.bn1(images).relu())


def test_batchnorm_is_not_folded_where_that_changes_outputs() -> None:
    torch.manual_seed(0)
    model, images = Misleading().eval(), torch.randn(2, 3, 8, 8) + 5
    with torch.inference_mode():
        fast = optimize_for_inference(model, SPEC, BFLOAT16)(images)
        torch.testing.assert_close(fast, model(images), atol=0.05, rtol=0.05)


def test_the_requested_precision_is_used() -> None:
    assert Precision.pick("float32", CPU) == FLOAT32
    assert Precision.pick("bfloat16", CPU) == BFLOAT16
    assert Precision.pick("auto", CPU) in (BFLOAT16, Precision())
    assert Precision.pick("auto", torch.device("meta")) == Precision()
