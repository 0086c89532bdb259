"""Random augmentation of training images, by torchvision's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.recipes import Affine, HorizontalFlip, Rotation


def augmentation(steps: Sequence[HorizontalFlip | Rotation | Affine]) -> T.Compose:
    """Return the steps as one transform of a PIL image; with the same torch seed it draws the same."""
    return T.Compose([_step(step) for step in steps])


def augment_batch(pixels: Tensor, transform: T.Compose, seed_key: tuple[int | str, ...], indices: Tensor) -> Tensor:
    """Transform each image of (n, C, H, W) uint8; its draws depend only on the seed key and the image's index."""
    with torch.random.fork_rng(devices=[]):
        images = zip(pixels, indices.tolist(), strict=True)
        return torch.stack([_augment(image, transform, (*seed_key, index)) for image, index in images])


def _augment(image: Tensor, transform: T.Compose, seed_key: tuple[int | str, ...]) -> Tensor:
    seed_torch(*seed_key)
    array = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
    augmented: Tensor = F.pil_to_tensor(transform(picture))
    return augmented


def _step(step: HorizontalFlip | Rotation | Affine) -> T.Transform:
    if isinstance(step, HorizontalFlip):
        return T.RandomHorizontalFlip(step.p)
    if isinstance(step, Rotation):
        return T.RandomRotation(step.degrees)
    return T.RandomAffine(degrees=0, translate=step.translate, scale=step.scale, shear=step.shear or None)
