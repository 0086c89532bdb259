"""Sets of labelled images, and their way into tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from zoo_core.cards import ImageInput
from zoo_core.images.decode import to_8bit

MAX_ASPECT = 16  # times the shorter side: of a longer picture, only the middle is sized


@dataclass(frozen=True)
class ToMode:
    """Converts a PIL image to "RGB" or "L", by way of `plain`."""

    mode: str

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image in the mode."""
        return to_8bit(image).convert(self.mode)


def clip_aspect(image: Image.Image) -> Image.Image:
    """Return the middle of a very long picture, of which a centre crop would keep less anyhow.

    Without it, a line of a million pixels would first be made as high as the crop, and as long in proportion.
    """
    longest = MAX_ASPECT * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))


def resize_transform(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to (C, size, size) uint8."""
    filters = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
    how = filters.get(spec.interpolation, InterpolationMode.BICUBIC)
    if spec.resize == "squash":
        steps = [v2.Resize((spec.size, spec.size), how)]
    else:
        steps = [clip_aspect, v2.Resize(int(spec.size / spec.crop_fraction), how), v2.CenterCrop(spec.size)]
    return v2.Compose([ToMode("RGB" if spec.channels == 3 else "L"), *steps, v2.PILToTensor()])


def normalize_transform(spec: ImageInput) -> v2.Compose:
    """Return the steps from uint8 (…, C, H, W) to normalised float32."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(spec.mean), list(spec.std))])


def preprocessing(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to the (C, size, size) float32 tensor that a model sees."""
    return v2.Compose([*resize_transform(spec).transforms, *normalize_transform(spec).transforms])
