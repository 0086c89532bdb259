"""Makes a faster copy of a trained network: BatchNorm folded into convolutions, channels last, 16 bits."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.precision import Precision

TOLERANCE = 1e-3  # of the largest output: how far the folded copy may differ from the original on an example
FOLD_FROM = 16  # images: for fewer, verifying the folded copy costs more than folding saves


class InferenceModel(nn.Module):
    """A network for inference only: takes and returns float32, whatever it computes in."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's float32 outputs for float32 inputs."""
        ready = self.precision.to_device(inputs, inputs.device)
        outputs: Tensor = self.network(ready.to(self.precision.dtype))
        return outputs.float()


def optimize_for_inference(
    model: nn.Module, spec: ImageInput, precision: Precision, *, images: int = FOLD_FROM
) -> nn.Module:
    """Return a module with the same outputs for images of this size: the model itself in full precision, else a copy.

    Args:
        model: is put into evaluation mode, and not changed otherwise.
        spec: the size of its inputs, with which a folded copy is verified. One that differs is not used.
        precision: what the copy computes in.
        images: how many there will be. BatchNorm is only folded for `FOLD_FROM` or more.
    """
    model.eval()
    if not precision.fast_path:
        return model
    network = copy.deepcopy(model)
    if images >= FOLD_FROM:
        fold_batchnorm(network)
        if not _agree(network, model, spec):
            network = copy.deepcopy(model)
    return InferenceModel(precision.to_memory_format(network.to(precision.dtype)), precision)


def _agree(folded: nn.Module, model: nn.Module, spec: ImageInput) -> bool:
    """Return whether both give the same outputs for an image of noise."""
    noise = torch.randn(1, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    noise = noise.to(next(model.parameters()).device)
    with torch.inference_mode():
        expected, actual = model(noise), folded(noise)
    largest = expected.abs().max().item()
    return largest < float("inf") and torch.allclose(actual, expected, rtol=0, atol=TOLERANCE * largest)


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """Fold every `bn…` into its `conv…`, in place.

    They have the same suffix, as in ResNets and Inceptions, or else follow each other, as `conv_dw` and `bn1` do in
    EfficientNets.
    """
    for parent in list(model.modules()):
        names = [name for name, _ in parent.named_children()]
        for name, following in pairwise([*names, ""]):
            same = name.replace("conv", "bn", 1)
            partner = same if same in names else following
            conv, bn = getattr(parent, name), getattr(parent, partner, None)
            if name.startswith("conv") and isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, bn))
                setattr(parent, partner, _rest_of(bn))
    return model


def _rest_of(bn: nn.BatchNorm2d) -> nn.Module:
    """Return what a BatchNorm does after normalizing: timm's variants also apply dropout and an activation."""
    return nn.Sequential(*bn.children()) if any(True for _ in bn.children()) else nn.Identity()
