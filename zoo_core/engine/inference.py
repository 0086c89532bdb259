"""A copy of a frozen network that answers sooner: BatchNorm folded into convolutions, channels last, 16-bit."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Precision = Literal["auto", "float32", "bfloat16"]
TOLERANCE = 1e-3  # of the largest output: how far a folded copy may lie from the original on the example


def pick_precision(asked: Precision, device: torch.device) -> Precision:
    """Return "bfloat16" where it was asked for, or where "auto" finds a processor that multiplies in it; else
    "float32", which is the plain path.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def for_inference(model: nn.Module, example: Tensor, precision: Precision) -> nn.Module:
    """Return a module of the same answers: the model itself for "float32", else a folded 16-bit copy.

    Args:
        model: in evaluation mode; it is not changed.
        example: a float32 batch (n, C, H, W), on which folding is verified; where it does not hold, it is not done.
        precision: from `pick_precision`.
    """
    if precision == "float32":
        return model
    folded = fold_batchnorm(copy.deepcopy(model))
    with torch.inference_mode():
        wanted, found = model(example), folded(example)
    if not torch.allclose(found, wanted, rtol=0, atol=TOLERANCE * wanted.abs().max().item()):
        folded = copy.deepcopy(model)
    return folded.to(torch.bfloat16).to(memory_format=torch.channels_last)


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
