"""From image sets to batches of uint8 tensors, decoded ahead in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from zoo_core.cards import DatasetCard, Edition, ImageInput, Split, resolve
from zoo_core.engine.data.preprocessing import resize_transform
from zoo_core.errors import DataError
from zoo_core.events import OnEvent, ignore_event
from zoo_core.images.image_sets import ImageSet
from zoo_core.store.store import Store

Item = TypeVar("Item")


Made = TypeVar("Made")


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images: `pixels` (N, C, H, W) uint8, `labels` (N,) int64."""

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load_split(
    card: DatasetCard, edition: Edition, split: Split, store: Store, on_event: OnEvent = ignore_event
) -> ImageSet:
    """Fetch an edition's files and open one of its splits.

    Raises:
        DataError: the edition has no such split, or does not hold what its card declares.
    """
    if split not in edition.examples:
        raise DataError(
            f"{card.name}.{edition.name} has no {split} images", why=f"its splits: {', '.join(edition.examples)}"
        )
    name = f"{card.name}.{edition.name}"
    files = {key: store.fetch(file, name, on_event) for key, file in edition.files.items()}
    images: ImageSet = resolve(card.loader)(files, split)
    if len(images) != edition.examples[split] or images.classes != card.classes:
        raise DataError(
            f"{name} does not hold what its card declares",
            why=f"{split}: {len(images)} images of {list(images.classes)}, "
            f"not {edition.examples[split]} of {list(card.classes)}",
            fix=f"zoo cache verify, then zoo pull {name}",
        )
    return images


def inference_batch_size(spec: ImageInput) -> int:
    """Return how many images go well through a model together when nothing is learned: some 8 million values."""
    return max(1, min(1024, 2**23 // (spec.channels * spec.size**2)))


def labels_of(images: ImageSet) -> Tensor:
    """Return all labels, (N,) int64, without decoding an image."""
    return torch.tensor([images.label(index) for index in range(len(images))])


def names_of(images: ImageSet) -> tuple[str, ...]:
    """Return what to call each image."""
    return tuple(images.name(index) for index in range(len(images)))


def iter_batches(images: ImageSet, spec: ImageInput, indices: Sequence[int], batch_size: int) -> Iterator[Tensor]:
    """Yield (n, C, H, W) uint8 batch after batch, in the order of the indices, decoding ahead in threads.

    Raises:
        DataError: an image is damaged.
    """
    size = resize_transform(spec)
    return map(torch.stack, prefetch_map(lambda index: size(images[index][0]), indices, batch_size))


def decode_all(images: ImageSet, spec: ImageInput) -> DecodedImages:
    """Decode and size a whole set, to be held in memory: size² · channels bytes an image."""
    pixels = torch.empty(len(images), spec.channels, spec.size, spec.size, dtype=torch.uint8)
    done = 0
    for batch in iter_batches(images, spec, range(len(images)), batch_size=64):
        pixels[done : done + len(batch)] = batch
        done += len(batch)
    return DecodedImages(pixels, labels_of(images), names_of(images))


def prefetch_map(make: Callable[[Item], Made], items: Iterable[Item], batch_size: int) -> Iterator[list[Made]]:
    """Yield what `make` makes of the items, in order and in batches, the next batch always under way in threads."""
    waiting, pending = iter(items), deque[Future[Made]]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            while True:
                pending.extend(pool.submit(make, item) for item in islice(waiting, 2 * batch_size - len(pending)))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
