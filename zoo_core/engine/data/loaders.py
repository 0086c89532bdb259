"""Labelled images on their way into a model: held decoded in memory, or streamed through worker processes."""

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

from zoo_core.cards import ImageInput
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.data.augmentation import augmented
from zoo_core.engine.data.batches import DecodedImages, decode_all, inference_batch_size, labels_of, names_of
from zoo_core.engine.data.preprocessing import normalize_transform, resize_transform
from zoo_core.errors import DataError, ResourceError
from zoo_core.images.image_sets import ImageSet

SHARE = 8  # one part in this many of the memory may hold a split's decoded images: training and validation, a quarter
Place = tuple[int | str, ...]


@dataclass(frozen=True)
class InMemoryImages:
    """Decoded images, augmented where `steps` are given, then normalised."""

    decoded: DecodedImages
    input: ImageInput
    steps: v2.Compose | None = None
    place: Place = ()  # what the random draws depend on, beside epoch and index

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.decoded.labels

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each image."""
        return self.decoded.names

    @property
    def inference_batch_size(self) -> int:
        """How many go well through a model together."""
        return inference_batch_size(self.input)

    @cached_property
    def _scale(self) -> v2.Compose:
        return normalize_transform(self.input)

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, C, H, W) float32 for each batch of indices."""
        return (self.inputs(indices, epoch) for indices in batches)

    def inputs(self, indices: Tensor, epoch: int) -> Tensor:
        """Return (n, C, H, W) float32."""
        pixels = self.decoded.pixels[indices]
        if self.steps is not None:
            pixels = augmented(pixels, self.steps, (*self.place, epoch), indices)
        scaled: Tensor = self._scale(pixels)
        return scaled

    def augmented_by(self, steps: v2.Compose | None, place: Place) -> InMemoryImages:
        """Return the same images through other random steps, or none."""
        return replace(self, steps=steps, place=place)


@dataclass(frozen=True)
class StreamedImages:
    """Images that are read and decoded anew in every epoch, by worker processes, with flat memory."""

    images: ImageSet
    input: ImageInput
    labels: Tensor
    names: tuple[str, ...]
    steps: v2.Compose | None = None
    place: Place = ()

    @property
    def inference_batch_size(self) -> int:
        """How many go well through a model together."""
        return inference_batch_size(self.input)

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, C, H, W) float32 for each batch of indices, the next ones always under way.

        Raises:
            DataError: an image is damaged.
        """
        one_by_one = _Decoding(self, epoch)
        scale = normalize_transform(self.input)
        lists = [indices.tolist() for indices in batches]
        workers = min(os.cpu_count() or 1, len(lists))
        for batch in _living(DataLoader(one_by_one, batch_sampler=lists, num_workers=workers, collate_fn=list)):
            damaged = [one for one in batch if isinstance(one, DataError)]
            if damaged:
                raise damaged[0]
            yield scale(torch.stack(batch))

    def augmented_by(self, steps: v2.Compose | None, place: Place) -> StreamedImages:
        """Return the same images through other random steps, or none."""
        return replace(self, steps=steps, place=place)


def _living(batches: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Pass batches on, and name it where a worker process dies: PyTorch has no error of its own for that."""
    waiting = iter(batches)
    while True:
        try:
            yield next(waiting)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            why, fix = f"the system killed it, likely for want of memory: {error}", "end other programs, and try again"
            raise ResourceError("a process that decodes images died", why=why, fix=fix) from error


class _Decoding(Dataset[Tensor | DataError]):
    """One image at a time, in a worker; an error travels as a value, so that it arrives as it was raised."""

    def __init__(self, streamed: StreamedImages, epoch: int) -> None:
        self._streamed, self._epoch = streamed, epoch
        self._size = resize_transform(streamed.input)

    def __getitem__(self, index: int) -> Tensor | DataError:
        streamed = self._streamed
        try:
            pixels: Tensor = self._size(streamed.images[index][0])
        except DataError as error:
            return error
        if streamed.steps is None:
            return pixels
        place = (*streamed.place, self._epoch)
        return augmented(pixels.unsqueeze(0), streamed.steps, place, torch.tensor([index]))[0]


def examples_of(
    images: ImageSet, spec: ImageInput, *, hold_bytes: int | None = None, world: World = SINGLE_PROCESS
) -> InMemoryImages | StreamedImages:
    """Return a set's images held in memory if they fit, else streamed.

    Args:
        images: the set.
        spec: the model's preprocessing.
        hold_bytes: how many bytes of decoded images fit; None: an eighth of the memory there is.
        ranks: the processes on one machine share its memory.
    """
    budget = _memory() // SHARE // world.local_count if hold_bytes is None else hold_bytes
    if len(images) * spec.channels * spec.size**2 <= budget:
        return InMemoryImages(decode_all(images, spec), spec)
    return StreamedImages(images, spec, labels_of(images), names_of(images))


def _memory() -> int:
    """Return the bytes that we may have: the machine's, or less in a container that is given less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    with suppress(OSError, ValueError):  # no control group; or one whose limit is "max"
        return min(whole, int(limit.read_text()))
    return whole
