"""Replaces the background of a picture by one color, at random."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchvision.transforms.v2 import functional as F

SAMPLES = 16  # pixels of the border whose colors are taken for the background's
AROUND = 5  # width of the square whose majority decides on its middle, in pixels
SUBJECT = 0.12  # a picture of which less than this share would be left stays as it is


def flat_background(
    p: float, tolerance: tuple[float, float], white: float, smallest: float
) -> Callable[[Tensor], Tensor]:
    """Return a transform of (3, H, W) uint8: with probability `p` it fills the background with one color.

    The background is what is seen from the picture's border, along rows and columns, through colors near those of
    pixels that are drawn from its left, right and upper border: within a tolerance that is drawn too, of 0 to 255, in
    the largest difference of a channel. The new color is white with probability `white`, and otherwise drawn. This is
    crude: parts of a subject in the colors of its surroundings vanish with them.

    The picture's height and width are then scaled, each by a factor between `smallest` and 1, and it is placed at
    random on more of the same color: being higher than wide does not make a human of a rearing horse.
    """

    def transform(image: Tensor) -> Tensor:
        if torch.rand(()) >= p:
            return image
        background = _background(image, tolerance)
        if background.float().mean() > 1 - SUBJECT:
            return image
        fill = torch.full((3,), 255) if torch.rand(()) < white else torch.randint(256, (3,))
        color = fill.to(torch.uint8)[:, None, None]
        return _placed(torch.where(background, color, image), color, smallest)

    return transform


def _background(image: Tensor, tolerance: tuple[float, float]) -> Tensor:
    """Return which pixels (H, W) are seen from the border through colors like the border's."""
    border = torch.cat([image[:, 0], image[:, :, 0], image[:, :, -1]], dim=1)  # (3, 2 H + W)
    colors = border[:, torch.randint(border.shape[1], (SAMPLES,))].short()
    nearest = (image.short()[:, None] - colors[:, :, None, None]).abs().amax(dim=0).amin(dim=0)
    low, high = tolerance
    alike = (nearest <= low + (high - low) * torch.rand(())).float()
    # mostly alike, so that a blade of grass does not end what is seen
    clear = (avg_pool2d(alike[None], AROUND, stride=1, padding=AROUND // 2, count_include_pad=False)[0] > 0.5).long()
    seen = [clear.cumprod(0), clear.flip(0).cumprod(0).flip(0), clear.cumprod(1), clear.flip(1).cumprod(1).flip(1)]
    return torch.stack(seen).any(dim=0)


def _placed(image: Tensor, color: Tensor, smallest: float) -> Tensor:
    """Return the image, scaled down and placed at random, on a canvas of its size in one color (3, 1, 1)."""
    spans = []
    for side in image.shape[1:]:
        length = max(1, round(side * (smallest + (1 - smallest) * torch.rand(()).item())))
        start = int(torch.randint(side - length + 1, ()))
        spans.append(slice(start, start + length))
    canvas = color.expand(image.shape).clone()
    part = canvas[:, spans[0], spans[1]]
    part.copy_(F.resize(image, list(part.shape[1:]), antialias=True))
    return canvas
