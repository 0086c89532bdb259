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
from zoo_core.engine.data.batch_augmentation import BatchAugmentation, BatchStep
from zoo_core.errors import PluginError, UsageError
from zoo_core.recipes.component_choice import ComponentChoice
from zoo_core.recipes.settings import (
    Affine,
    Augmentation,
    ColorJitter,
    CutMix,
    HorizontalFlip,
    MixUp,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    TrivialAugment,
)
from zoo_core.registry.plugin_errors import attributed_to_plugins

BuiltIn = (
    HorizontalFlip | Rotation | Affine | RandomCrop | RandomResizedCrop | ColorJitter | TrivialAugment | RandomErasing
)
Transform = Callable[[Image.Image], Image.Image]


def augmentation(steps: Sequence[Augmentation]) -> T.Compose:
    """Return the steps as one transform of a PIL image; with the same torch seed it draws the same.

    It leaves out mixup and CutMix, which combine the images of a batch: the training loop applies them.

    Raises:
        UsageError: no steps are left.
    """
    single = tuple(step for step in steps if not isinstance(step, MixUp | CutMix))
    if not single:
        raise UsageError("no augmentation of single images is given", why="mixup and cutmix combine images of a batch")
    transforms = [_step(step) for step in single]
    batch_steps = tuple(step for step in single if isinstance(step, BatchStep))
    if len(batch_steps) < len(single) or all(isinstance(step, HorizontalFlip) for step in single):
        return T.Compose(transforms)  # flips alone were there before `BatchAugmentation`, and draw as they always did
    return BatchAugmentation(batch_steps, transforms)


def augment_batch(pixels: Tensor, transform: T.Compose, seed_key: tuple[int | str, ...], indices: Tensor) -> Tensor:
    """Transform each image of (n, C, H, W) uint8; its draws depend only on the seed key and the image's index."""
    if isinstance(transform, BatchAugmentation):
        return transform.of_batch(pixels, seed_key, indices)
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


class _Crop:
    """Crops a PIL image to its own size after padding it, or after scaling a part of it up."""

    def __init__(self, step: RandomCrop | RandomResizedCrop) -> None:
        self._step = step

    def __call__(self, picture: Image.Image) -> Image.Image:
        step, size = self._step, (picture.height, picture.width)
        if isinstance(step, RandomCrop):
            cropped: Image.Image = T.RandomCrop(size, step.padding, padding_mode=step.padding_mode)(picture)
        else:
            cropped = T.RandomResizedCrop(size, step.scale, step.ratio, T.InterpolationMode.BICUBIC)(picture)
        return cropped


class _Erase:
    """Erases a rectangle of a PIL image: torchvision does it on tensors."""

    def __init__(self, step: RandomErasing) -> None:
        self._erase = T.RandomErasing(step.p, step.scale, step.ratio, value=step.value)

    def __call__(self, picture: Image.Image) -> Image.Image:
        changed: Image.Image = F.to_pil_image(self._erase(F.pil_to_tensor(picture)))
        return changed


def _step(step: BuiltIn | ComponentChoice) -> Transform:
    if isinstance(step, ComponentChoice):
        return _PluginTransform(step)
    if isinstance(step, RandomCrop | RandomResizedCrop):
        return _Crop(step)
    if isinstance(step, RandomErasing):
        return _Erase(step)
    built_in: Transform = _built_in(step)
    return built_in


def _built_in(step: HorizontalFlip | Rotation | Affine | ColorJitter | TrivialAugment) -> T.Transform:
    if isinstance(step, HorizontalFlip):
        return T.RandomHorizontalFlip(step.p)
    if isinstance(step, Rotation):
        return T.RandomRotation(step.degrees)
    if isinstance(step, ColorJitter):
        return T.ColorJitter(step.brightness, step.contrast, step.saturation, step.hue)
    if isinstance(step, TrivialAugment):
        return T.TrivialAugmentWide()
    return T.RandomAffine(degrees=0, translate=step.translate, scale=step.scale, shear=step.shear or None)
