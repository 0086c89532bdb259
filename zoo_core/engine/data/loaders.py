"""Labeled images as model inputs: decoded once into memory, or streamed through worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.data.augmentation import augment_batch
from zoo_core.engine.data.batches import DecodedImages, decode_all, labels_of
from zoo_core.engine.data.preprocessing import normalize_transform, resize_transform
from zoo_core.errors import DataError, PluginError, ResourceError, ZooError
from zoo_core.images.batching import inference_batch_size
from zoo_core.images.image_sets import ImageSet, names_of

MEMORY_FRACTION = 8  # decoded images of one split may take up to an eighth of the memory
SeedKey = tuple[int | str, ...]


@dataclass(frozen=True)
class InMemoryImages:
    """Decoded images in memory, augmented if `transform` is given, then normalized."""

    decoded: DecodedImages
    input: ImageInput
    transform: v2.Compose | None = None
    seed_key: SeedKey = ()  # random draws depend on this, the epoch and the index

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.decoded.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""
        return self.decoded.names

    @property
    def inference_batch_size(self) -> int:
        """How many images to send through a model at once when no gradients are needed."""
        return inference_batch_size(self.input)

    @cached_property
    def _normalize(self) -> v2.Compose:
        return normalize_transform(self.input)

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, C, H, W) float32 for each batch of indices."""
        return (self.inputs(indices, epoch) for indices in batches)

    def inputs(self, indices: Tensor, epoch: int) -> Tensor:
        """Return (n, C, H, W) float32."""
        pixels = self.decoded.pixels[indices]
        if self.transform is not None:
            pixels = augment_batch(pixels, self.transform, (*self.seed_key, epoch), indices)
        inputs: Tensor = self._normalize(pixels)
        return inputs

    @property
    def clean(self) -> InMemoryImages:
        """The same images without augmentation."""
        return replace(self, transform=None)

    def with_augmentation(self, transform: v2.Compose | None, seed_key: SeedKey) -> InMemoryImages:
        """Return the same images with another random transform, or without one (None)."""
        return replace(self, transform=transform, seed_key=seed_key)


@dataclass(frozen=True)
class StreamedImages:
    """Images that worker processes read and decode in every epoch, in constant memory."""

    images: ImageSet
    input: ImageInput
    labels: Tensor
    names: tuple[str, ...]
    transform: v2.Compose | None = None
    seed_key: SeedKey = ()

    @property
    def inference_batch_size(self) -> int:
        """How many images to send through a model at once when no gradients are needed."""
        return inference_batch_size(self.input)

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, C, H, W) float32 for each batch of indices; the next batches are being decoded meanwhile.

        Raises:
            DataError: an image is damaged.
        """
        dataset = _DecodedOnDemand(self, epoch)
        normalize = normalize_transform(self.input)
        lists = [indices.tolist() for indices in batches]
        workers = min(os.cpu_count() or 1, len(lists))
        loader = DataLoader(dataset, batch_sampler=lists, num_workers=workers, collate_fn=list)
        for batch in _explained_worker_deaths(loader):
            errors = [item for item in batch if isinstance(item, ZooError)]
            if errors:
                raise errors[0]
            yield normalize(torch.stack(batch))

    @property
    def clean(self) -> StreamedImages:
        """The same images without augmentation."""
        return replace(self, transform=None)

    def with_augmentation(self, transform: v2.Compose | None, seed_key: SeedKey) -> StreamedImages:
        """Return the same images with another random transform, or without one (None)."""
        return replace(self, transform=transform, seed_key=seed_key)


def _explained_worker_deaths(batches: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Pass batches on; turn PyTorch's RuntimeError about a dead worker process into a ResourceError."""
    iterator = iter(batches)
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            why = f"the system killed it, probably because memory ran out; close other programs and try again: {error}"
            raise ResourceError("a process that decodes images died", why=why) from error


class _DecodedOnDemand(Dataset[Tensor | ZooError]):
    """Decodes one image at a time in a worker; errors travel as values, because DataLoader rewrites exceptions."""

    def __init__(self, streamed: StreamedImages, epoch: int) -> None:
        self._streamed, self._epoch = streamed, epoch
        self._resize = resize_transform(streamed.input)

    def __getitem__(self, index: int) -> Tensor | ZooError:
        streamed = self._streamed
        try:
            pixels: Tensor = self._resize(streamed.images[index][0])
        except DataError as error:
            return error
        if streamed.transform is None:
            return pixels
        seed_key = (*streamed.seed_key, self._epoch)
        try:
            return augment_batch(pixels.unsqueeze(0), streamed.transform, seed_key, torch.tensor([index]))[0]
        except PluginError as error:
            return error


def load_examples(
    images: ImageSet, spec: ImageInput, *, max_bytes: int | None = None, world: World = SINGLE_PROCESS
) -> InMemoryImages | StreamedImages:
    """Return images decoded into memory if they fit, else streamed.

    Args:
        images: the images.
        spec: the model's preprocessing.
        max_bytes: how many bytes of decoded images fit; None: an eighth of the machine's memory.
        world: the processes on one machine share its memory.
    """
    budget = memory_budget(world) if max_bytes is None else max_bytes
    if len(images) * spec.channels * spec.size**2 <= budget:
        return InMemoryImages(decode_all(images, spec), spec)
    return StreamedImages(images, spec, labels_of(images), names_of(images))


def memory_budget(world: World = SINGLE_PROCESS) -> int:
    """Return how many bytes of one split a process may keep in memory: an eighth, shared by the machine's processes."""
    return _memory_bytes() // MEMORY_FRACTION // world.local_count


def _memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or the limit of its container if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    with suppress(OSError, ValueError):  # no control group; or one whose limit is "max"
        return min(total, int(limit.read_text()))
    return total
