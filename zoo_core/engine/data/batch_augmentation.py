"""Augmentations of a whole batch of uint8 images at once: a fraction of the time of one image after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

from zoo_core.engine.compute.seeding import seed_for
from zoo_core.recipes.settings import HorizontalFlip, RandomCrop, RandomErasing

DRAWS = 5  # random numbers that a step gets for each image
BatchStep = HorizontalFlip | RandomCrop | RandomErasing


class BatchAugmentation(T.Compose):  # type: ignore[misc]  # torchvision has no types
    """Flips, shifts and erased rectangles. Called on a PIL image it is the same steps by torchvision."""

    def __init__(self, steps: Sequence[BatchStep], transforms: Sequence[Callable[..., object]]) -> None:
        super().__init__(transforms)
        self._steps = steps

    def of_batch(self, pixels: Tensor, seed_key: tuple[int | str, ...], indices: Tensor) -> Tensor:
        """Transform (n, C, H, W) uint8; an image's draws depend only on the seed key and its index."""
        draws, pixels = uniform_by_index(seed_for(*seed_key), indices, DRAWS * len(self._steps)), pixels.clone()
        for step, its_draws in zip(self._steps, torch.split(draws, DRAWS, dim=1), strict=True):
            if isinstance(step, HorizontalFlip):
                flipped = its_draws[:, 0] < step.p
                pixels[flipped] = pixels[flipped].flip(-1)
            elif isinstance(step, RandomCrop):
                pixels = _shift(step, pixels, its_draws)
            else:
                _erase(step, pixels, its_draws)
        return pixels


def uniform_by_index(seed: int, indices: Tensor, count: int) -> Tensor:
    """Return (n, count) float64 in [0, 1), a function of the seed and of each index (n,) alone.

    By SplitMix64 (Steele, Lea and Flood 2014), a generator whose n-th number needs none of those before it.
    """
    columns = np.arange(1, count + 1, dtype=np.uint64)
    state: NDArray[np.uint64] = indices.numpy().astype(np.uint64)[:, None] * np.uint64(count) + columns
    state *= np.uint64(0x9E3779B97F4A7C15)  # arrays wrap around at 2^64
    state += np.uint64(seed)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _shift(step: RandomCrop, pixels: Tensor, draws: Tensor) -> Tensor:
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels, [step.padding], padding_mode=step.padding_mode)
    corners = (draws[:, :2] * (2 * step.padding + 1)).long().tolist()
    images = zip(padded, corners, strict=True)
    return torch.stack([image[:, top : top + height, left : left + width] for image, (top, left) in images])


def _erase(step: RandomErasing, pixels: Tensor, draws: Tensor) -> None:
    """Erase in place; a rectangle longer than the image is cut to its length, where torchvision draws another."""
    height, width = pixels.shape[-2:]
    area = height * width * (step.scale[0] + draws[:, 1] * (step.scale[1] - step.scale[0]))
    ratio = torch.exp(log(step.ratio[0]) + draws[:, 2] * (log(step.ratio[1]) - log(step.ratio[0])))
    rows = (area * ratio).sqrt().round().long().clamp(1, height)
    columns = (area / ratio).sqrt().round().long().clamp(1, width)
    top = (draws[:, 3] * (height - rows + 1)).long()
    left = (draws[:, 4] * (width - columns + 1)).long()
    boxes = torch.stack([top, top + rows, left, left + columns], dim=1)
    for number in (draws[:, 0] < step.p).nonzero().flatten().tolist():
        y, bottom, x, right = boxes[number].tolist()
        pixels[number, :, y:bottom, x:right] = step.value
