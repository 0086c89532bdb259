"""From a PIL image to the tensor that a model sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from zoo_core.cards.models import ImageInput
from zoo_core.images.decode import to_8bit

MAX_ASPECT = 16  # long side / short side; longer images are cropped to their middle before they are resized


@dataclass(frozen=True)
class ToMode:
    """Converts a PIL image of any mode to "RGB" or "L", through `to_8bit`."""

    mode: str

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image in this mode."""
        return to_8bit(image).convert(self.mode)


@dataclass(frozen=True)
class Pad:
    """Scales the longer side of a PIL image to `size` and fills the margins, half on each side, with one color."""

    size: int
    interpolation: InterpolationMode
    colour: tuple[int, ...]  # 0 to 255, one value per channel

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the (size, size) image."""
        longest = max(image.size)
        width, height = (max(1, round(side * self.size / longest)) for side in image.size)
        resized: Image.Image = F.resize(image, [height, width], self.interpolation)
        left, top = (self.size - width) // 2, (self.size - height) // 2
        canvas = Image.new(image.mode, (self.size, self.size), self.colour if len(self.colour) > 1 else self.colour[0])
        canvas.paste(resized, (left, top))
        return canvas


def clip_aspect(image: Image.Image) -> Image.Image:
    """Return the middle of a very long image, which a center crop would discard anyway.

    Without it, a line of a million pixels would be scaled to the height of the crop, and its length by the same factor.
    """
    longest = MAX_ASPECT * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))


def resize_transform(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to (C, size, size) uint8."""
    filters = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
    interpolation = filters.get(spec.interpolation, InterpolationMode.BICUBIC)
    if spec.resize == "squash":
        steps = [v2.Resize((spec.size, spec.size), interpolation)]
    elif spec.resize == "pad":
        steps = [Pad(spec.size, interpolation, tuple(min(255, max(0, round(255 * mean))) for mean in spec.mean))]
    else:
        shorter_side = int(spec.size / spec.crop_fraction)
        steps = [clip_aspect, v2.Resize(shorter_side, interpolation), v2.CenterCrop(spec.size)]
    return v2.Compose([ToMode("RGB" if spec.channels == 3 else "L"), *steps, v2.PILToTensor()])


def normalize_transform(spec: ImageInput) -> v2.Compose:
    """Return the steps from uint8 (…, C, H, W) to normalized float32."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(spec.mean), list(spec.std))])


def preprocessing(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to the (C, size, size) float32 tensor that a model sees."""
    return v2.Compose([*resize_transform(spec).transforms, *normalize_transform(spec).transforms])
