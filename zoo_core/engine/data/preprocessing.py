"""From a PIL image to the tensor that a model sees."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from zoo_core.cards.models import ImageInput
from zoo_core.images.fit import FitImage


def resize_transform(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to (C, size, size) uint8."""
    return v2.Compose([FitImage(spec), v2.PILToTensor()])


def normalize_transform(spec: ImageInput) -> v2.Compose:
    """Return the steps from uint8 (…, C, H, W) to normalized float32."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(spec.mean), list(spec.std))])


def preprocessing(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to the (C, size, size) float32 tensor that a model sees."""
    return v2.Compose([*resize_transform(spec).transforms, *normalize_transform(spec).transforms])
