"""Random augmentation of training images, by torchvision's transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

from zoo_core.cards.fields import resolve
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.errors import PluginError
from zoo_core.recipes.component_choice import ComponentChoice
from zoo_core.recipes.settings import Affine, HorizontalFlip, Rotation
from zoo_core.registry.plugin_errors import attributed_to_plugins

Step = HorizontalFlip | Rotation | Affine | ComponentChoice


def augmentation(steps: Sequence[Step]) -> T.Compose:
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


class _PluginTransform:
    """Applies a plugin's transform of (C, H, W) uint8 tensors to a PIL image; also in worker processes."""

    def __init__(self, choice: ComponentChoice) -> None:
        self._name, self._build = choice.name, choice.component.build
        self._transform: Callable[[Tensor], Tensor] = resolve(self._build)(**choice.settings)

    def __call__(self, picture: Image.Image) -> Image.Image:
        image = F.pil_to_tensor(picture)
        with attributed_to_plugins(self._build):
            augmented = self._transform(image)
        if not isinstance(augmented, Tensor) or (augmented.shape, augmented.dtype) != (image.shape, image.dtype):
            why = f"it must return a uint8 tensor of the shape {tuple(image.shape)} that it was given"
            raise PluginError(f"the augmentation {self._name} is invalid", why=why)
        changed: Image.Image = F.to_pil_image(augmented)
        return changed


def _step(step: Step) -> Callable[[Image.Image], Image.Image]:
    if isinstance(step, ComponentChoice):
        return _PluginTransform(step)
    built_in: Callable[[Image.Image], Image.Image] = _built_in(step)
    return built_in


def _built_in(step: HorizontalFlip | Rotation | Affine) -> T.Transform:
    if isinstance(step, HorizontalFlip):
        return T.RandomHorizontalFlip(step.p)
    if isinstance(step, Rotation):
        return T.RandomRotation(step.degrees)
    return T.RandomAffine(degrees=0, translate=step.translate, scale=step.scale, shear=step.shear or None)
