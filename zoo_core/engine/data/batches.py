"""From image sets to batches of uint8 tensors, prefetched by threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import Split, resolve
from zoo_core.cards.models import ImageInput
from zoo_core.engine.data.preprocessing import resize_transform
from zoo_core.errors import DataError, PluginError
from zoo_core.events import OnEvent, ignore_event
from zoo_core.images.image_sets import ImageSet
from zoo_core.store.store import Store

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images: `pixels` (N, C, H, W) uint8, `labels` as `labels_of` returns them."""

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load_split(
    card: DatasetCard, edition: Edition, split: Split, store: Store, on_event: OnEvent = ignore_event
) -> ImageSet:
    """Fetch an edition's files and open one of its splits.

    Raises:
        DataError: the edition does not have this split, or its contents differ from its card.
        PluginError: the dataset's loader is missing or cannot be imported.
    """
    if split not in edition.examples:
        raise DataError(
            f"{card.name}.{edition.name} has no {split} images", why=f"its splits: {', '.join(edition.examples)}"
        )
    name = f"{card.name}.{edition.name}"
    files = {key: store.fetch(file, name, on_event) for key, file in edition.files.items()}
    if card.loader is None:
        raise PluginError(f"dataset {card.name} has no loader", why="its card must name a function that opens a split")
    images: ImageSet = resolve(card.loader)(files, split)
    if len(images) != edition.examples[split] or images.classes != card.classes:
        raise DataError(
            f"{name} differs from its card",
            why=f"{split}: {len(images)} images of {list(images.classes)}, "
            f"expected {edition.examples[split]} of {list(card.classes)}",
            fix=f"zoo cache verify && zoo pull {name}",
        )
    return images


def inference_batch_size(spec: ImageInput) -> int:
    """Return a batch size for inference: about 8 million input values per batch."""
    return max(1, min(1024, 2**23 // (spec.channels * spec.size**2)))


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


def names_of(images: ImageSet) -> tuple[str, ...]:
    """Return the name of each image."""
    return tuple(images.name(index) for index in range(len(images)))


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


def prefetch_map(function: Callable[[Item], Result], items: Iterable[Item], batch_size: int) -> Iterator[list[Result]]:
    """Yield function(item) for all items, in order and in batches; threads compute the next batch meanwhile."""
    waiting, pending = iter(items), deque[Future[Result]]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            while True:
                pending.extend(pool.submit(function, item) for item in islice(waiting, 2 * batch_size - len(pending)))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
