"""Grad-CAM (Selvaraju et al. 2017): which regions of an image support a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class _Last:
    maps: Tensor | None = None


def gradcam(model: nn.Module, inputs: Tensor, label: int) -> Tensor | None:
    """Return how strongly each region of an image supports a class.

    The last feature maps with more than one pixel, weighted by the mean gradient of the class's logit over each map.

    Args:
        model: in evaluation mode; (1, C, H, W) float32 → logits (1, K).
        inputs: (1, C, H, W) float32.
        label: the class; with a single logit, class 0 is its negative.

    Returns:
        (H, W) in [0, 1], 1 the strongest; None for a network without feature maps.
    """
    with torch.enable_grad(), _watched(model) as last:
        logits = model(inputs)[0].float()
    if last.maps is None:
        return None
    score = logits[label] if len(logits) > 1 else logits[0] * (1 if label == 1 else -1)
    (gradient,) = torch.autograd.grad(score, last.maps)
    heat = F.relu((last.maps * gradient.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True)).float()
    enlarged = F.interpolate(heat.detach(), size=inputs.shape[2:], mode="bilinear")[0, 0]
    normalized: Tensor = enlarged / enlarged.max().clamp_min(1e-12)
    return normalized.cpu()


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Last]:
    """Record the last feature maps of any module; the gradient stops there, which saves memory."""
    last = _Last()

    def keep(module: nn.Module, given: tuple[object, ...], output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 4 or min(output.shape[2:]) < 2:
            return None
        last.maps = output.detach().requires_grad_()
        return last.maps.clone()  # an in-place layer must not change the recorded maps

    handles = [module.register_forward_hook(keep) for module in model.modules() if module is not model]
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()
