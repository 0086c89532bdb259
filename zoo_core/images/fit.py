"""Makes an image square and as large as a model's input, as the model's card says; needs Pillow alone."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from zoo_core.cards.models import ImageInput
from zoo_core.images.decode import to_8bit

MAX_ASPECT = 16  # long side / short side; longer images are cropped to their middle before they are resized
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class FitImage:
    """Converts a PIL image of any mode and size to (size, size) pixels, "RGB" or "L"; see `ImageInput`."""

    input: ImageInput

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image as the model sees it, before pixels are normalized."""
        spec, image = self.input, to_8bit(image).convert("RGB" if self.input.channels == 3 else "L")
        if spec.resize == "squash":
            return self._resized(image, (spec.size, spec.size))
        return self._padded(image) if spec.resize == "pad" else self._cropped(image)

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize(size, FILTERS[self.input.interpolation])

    def _padded(self, image: Image.Image) -> Image.Image:
        """Scale the longer side to `size`, and fill the margins, half on each side, with the color `mean`."""
        size, longest = self.input.size, max(image.size)
        width, height = (max(1, round(side * size / longest)) for side in image.size)
        color = tuple(min(255, max(0, round(255 * mean))) for mean in self.input.mean)
        canvas = Image.new(image.mode, (size, size), color if len(color) > 1 else color[0])
        canvas.paste(self._resized(image, (width, height)), ((size - width) // 2, (size - height) // 2))
        return canvas

    def _cropped(self, image: Image.Image) -> Image.Image:
        """Scale the shorter side, and keep the middle."""
        image, shorter = clip_aspect(image), int(self.input.size / self.input.crop_fraction)
        smallest = min(image.size)
        width, height = (shorter if side == smallest else int(shorter * side / smallest) for side in image.size)
        left, top = round((width - self.input.size) / 2), round((height - self.input.size) / 2)
        box = (left, top, left + self.input.size, top + self.input.size)
        return self._resized(image, (width, height)).crop(box)


def clip_aspect(image: Image.Image) -> Image.Image:
    """Return the middle of a very long image, which a center crop would discard anyway.

    Without it, a line of a million pixels would be scaled to the height of the crop, and its length by the same factor.
    """
    longest = MAX_ASPECT * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))
