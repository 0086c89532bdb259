"""From image sets to batches of uint8 tensors, prefetched by threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_core.cards.models import ImageInput
from zoo_core.engine.data.preprocessing import resize_transform
from zoo_core.errors import PluginError
from zoo_core.images.batching import prefetch_map
from zoo_core.images.image_sets import ImageSet, names_of


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images: `pixels` (N, C, H, W) uint8, `labels` as `labels_of` returns them."""

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]


def labels_of(images: ImageSet) -> Tensor:
    """Return all labels without decoding images: (N,) int64, or for multi-label data (N, K) float32 of 0 and 1."""
    labels: list[Any] = [images.label(index) for index in range(len(images))]
    if not any(isinstance(label, tuple) for label in labels):
        return torch.tensor(labels)
    rows = torch.zeros(len(labels), len(images.classes))
    for row, label in zip(rows, labels, strict=True):
        row[list(label)] = 1.0
    return rows


def groups_of(images: ImageSet) -> Tensor | None:
    """Return the number of each image's group (N,) int64; None: the set has no `groups`, so each image is on its own.

    Groups stay on one side of a split, and in one fold of a cross-validation.

    Raises:
        PluginError: there are more or fewer groups than images.
    """
    groups, numbers = getattr(images, "groups", ()), dict[str, int]()
    if groups and len(groups) != len(images):
        raise PluginError("a set of images is invalid", why=f"{len(images):,} images have {len(groups):,} groups")
    return torch.tensor([numbers.setdefault(group, len(numbers)) for group in groups]) if groups else None


def iter_batches(images: ImageSet, spec: ImageInput, indices: Sequence[int], batch_size: int) -> Iterator[Tensor]:
    """Yield batches, (n, C, H, W) uint8, in the order of the indices; threads decode the next batch.

    Raises:
        DataError: an image is damaged.
    """
    resize = resize_transform(spec)
    return map(torch.stack, prefetch_map(lambda index: resize(images[index][0]), indices, batch_size))


def decode_all(images: ImageSet, spec: ImageInput) -> DecodedImages:
    """Decode and resize a set into memory: size² · channels bytes per image."""
    pixels = torch.empty(len(images), spec.channels, spec.size, spec.size, dtype=torch.uint8)
    done = 0
    for batch in iter_batches(images, spec, range(len(images)), batch_size=64):
        pixels[done : done + len(batch)] = batch
        done += len(batch)
    return DecodedImages(pixels, labels_of(images), names_of(images))
