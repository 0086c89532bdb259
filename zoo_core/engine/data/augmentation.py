"""Random changes to training images, as torchvision makes them."""

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
    """Return the steps on a PIL image; with the same torch seed they draw the same."""
    return T.Compose([_step(step) for step in steps])


def augmented(pixels: Tensor, steps: T.Compose, place: tuple[int | str, ...], indices: Tensor) -> Tensor:
    """Apply the steps to each image of (n, C, H, W) uint8, with draws that depend on the place and the index alone."""
    with torch.random.fork_rng(devices=[]):
        return torch.stack([_one(image, steps, (*place, int(i))) for image, i in zip(pixels, indices, strict=True)])


def _one(image: Tensor, steps: T.Compose, place: tuple[int | str, ...]) -> Tensor:
    seed_torch(*place)
    array = image.permute(1, 2, 0).numpy()
    changed: Tensor = F.pil_to_tensor(steps(Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)))
    return changed


def _step(step: HorizontalFlip | Rotation | Affine) -> T.Transform:
    if isinstance(step, HorizontalFlip):
        return T.RandomHorizontalFlip(step.p)
    if isinstance(step, Rotation):
        return T.RandomRotation(step.degrees)
    return T.RandomAffine(degrees=0, translate=step.translate, scale=step.scale, shear=step.shear or None)
