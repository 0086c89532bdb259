"""Mixes the images of a batch with each other: mixup and CutMix, by torchvision's transforms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from zoo_core.recipes.settings import Augmentation, CutMix, MixUp


@dataclass(frozen=True)
class MixedBatch:
    """A batch in which every image is combined with the image before it; the first with the last.

    The loss is `share` of the loss with the image's own target and the rest with the other's. For cross-entropy, which
    is linear in the target, this equals the loss with a soft target.
    """

    inputs: Tensor  # (n, C, H, W) float32
    share: float  # of the image itself; 1: nothing was mixed

    def partners(self, indices: Tensor) -> Tensor:
        """Return which example (n,) each of the batch's examples (n,) was combined with."""
        return indices.roll(1)


@dataclass(frozen=True)
class Mixing:
    """A recipe's augmentations of whole batches; with several, one of them is drawn for each batch."""

    steps: tuple[MixUp | CutMix, ...] = ()

    @classmethod
    def of(cls, steps: Iterable[Augmentation]) -> Mixing:
        """Return those of a recipe's augmentations that mix images."""
        return cls(tuple(step for step in steps if isinstance(step, MixUp | CutMix)))

    def __call__(self, inputs: Tensor) -> MixedBatch:
        """Mix a batch (n, C, H, W); draws from PyTorch's global generator."""
        if not self.steps or len(inputs) < 2:
            return MixedBatch(inputs, 1.0)
        step = self.steps[int(torch.randint(len(self.steps), ()))]
        if torch.rand(()) >= step.p:
            return MixedBatch(inputs, 1.0)
        mix = (v2.MixUp if isinstance(step, MixUp) else v2.CutMix)(alpha=step.alpha, num_classes=len(inputs))
        mixed, shares = mix(inputs, torch.arange(len(inputs)))  # as if every image were a class
        return MixedBatch(mixed, shares[0, 0].item())
