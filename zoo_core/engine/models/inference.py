"""A copy of a trained network that answers sooner: BatchNorm folded into convolutions, channels last, 16-bit."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoo_core.cards import ImageInput
from zoo_core.engine.compute.precision import Precision

TOLERANCE = 1e-3  # of the largest output: how far a folded copy may lie from the original on the example


class InferenceModel(nn.Module):
    """A network for inference alone: float32 goes in and comes out, whatever lies between."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the network makes of float32 inputs, as float32."""
        ready = self.precision.to_device(inputs, inputs.device)
        answers: Tensor = self.network(ready.to(self.precision.dtype))
        return answers.float()


def load_for_inference(model: nn.Module, spec: ImageInput, precision: Precision) -> nn.Module:
    """Return a module of the same answers for images of this size; see `for_inference`."""
    noise = torch.randn(1, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    return optimize_for_inference(model.eval(), noise, precision)


def optimize_for_inference(model: nn.Module, example: Tensor, precision: Precision) -> nn.Module:
    """Return a module of the same answers: the model itself for the plain path, else a folded copy.

    Args:
        model: in evaluation mode; it is not changed.
        example: a float32 batch (n, C, H, W), on which folding is verified; where it does not hold, it is not done.
        precision: in what the copy computes.
    """
    if not precision.fast_path:
        return model
    folded = fold_batchnorm(copy.deepcopy(model))
    example = example.to(next(model.parameters()).device)
    with torch.inference_mode():
        wanted, found = model(example), folded(example)
    if not torch.allclose(found, wanted, rtol=0, atol=TOLERANCE * wanted.abs().max().item()):
        folded = copy.deepcopy(model)
    return InferenceModel(precision.to_memory_format(folded.to(precision.dtype)), precision)


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """Fold, in place, every `bn…` into the `conv…` of the same ending beside it, as ResNets and Inceptions do."""
    for parent in list(model.modules()):
        for name, conv in list(parent.named_children()):
            bn = getattr(parent, name.replace("conv", "bn", 1), None) if name.startswith("conv") else None
            if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, bn))
                setattr(parent, name.replace("conv", "bn", 1), _rest_of(bn))
    return model


def _rest_of(bn: nn.BatchNorm2d) -> nn.Module:
    """Return what a BatchNorm does beside normalising: timm's drop out and activate too."""
    return nn.Sequential(*bn.children()) if any(True for _ in bn.children()) else nn.Identity()
