"""An image set whose images are transformed when they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from zoo_core.images.image_sets import ImageSet
from zoo_core.images.labels import Label


@dataclass(frozen=True)
class TransformedImages:
    """A map-style dataset for `torch.utils.data.DataLoader`: (transform(image), label)."""

    images: ImageSet
    transform: Callable[[Image.Image], Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self.images.classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Label]:
        image, label = self.images[index]
        return self.transform(image), label
