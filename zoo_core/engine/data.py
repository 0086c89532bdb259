"""Sets of labelled images, and their way into tensors."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from zoo_core.cards import DatasetCard, Edition, ImageInput, Split, resolve
from zoo_core.engine.images import MAX_BYTES, decode_image, plain
from zoo_core.errors import DataError
from zoo_core.sources import Watch, unwatched
from zoo_core.store import Store

LONGEST = 16  # times the shorter side: of a longer picture, only the middle is sized
Item = TypeVar("Item")
Made = TypeVar("Made")


class ImageSet(Protocol):
    """A sequence of labelled images in a fixed order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""

    @property
    def fingerprint(self) -> str:
        """A hash of every image's bytes and label, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return one image and its label; raises DataError where the image is damaged."""

    def label(self, index: int) -> int:
        """Return one image's label without decoding the image."""

    def name(self, index: int) -> str:
        """Return what to call one image: its path inside the dataset."""


@dataclass(frozen=True)
class ZipImages:
    """The images in a zip with one folder per class; classes are sorted as plain strings, as torchvision does."""

    path: Path

    def __reduce__(self) -> tuple[object, ...]:
        return ZipImages, (self.path,)  # open files do not travel between processes

    @cached_property
    def _archives(self) -> dict[int, ZipFile]:
        return {}

    def _archive(self) -> ZipFile:
        """Return this process's own handle: forked processes would share one's place in the file; threads may."""
        if os.getpid() not in self._archives:
            self._archives[os.getpid()] = ZipFile(self.path)
        return self._archives[os.getpid()]

    def _read(self, name: str) -> bytes:
        try:
            with self._archive().open(name) as file:
                return file.read(MAX_BYTES + 1)  # whatever its header says
        except (BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
            raise DataError(f"{name} cannot be read", why=f"{self.path}: {error}", fix="zoo cache verify") from error

    @cached_property
    def _members(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self._archive().namelist() if "/" in name and not name.endswith("/")))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names: the top folders."""
        return tuple(sorted({name.partition("/")[0] for name in self._members}))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image's bytes and name."""
        digest = hashlib.sha256()
        for name in self._members:
            digest.update(f"{name}\0".encode() + hashlib.sha256(self._read(name)).digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        name = self._members[index]
        return decode_image(self._read(name), name), self.label(index)

    def label(self, index: int) -> int:
        """Return the place of the image's folder among the classes."""
        return self.classes.index(self._members[index].partition("/")[0])

    def name(self, index: int) -> str:
        """Return the image's path in the zip."""
        return self._members[index]


@dataclass(frozen=True)
class ArrayImages:
    """Images that are pixels already: (N, H, W) or (N, H, W, 3) uint8, with (N,) labels."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all pixels and labels."""
        shape = repr(self.pixels.shape).encode()
        return hashlib.sha256(shape + self.pixels.tobytes() + self.labels.astype("<i8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]), self.label(index)

    def label(self, index: int) -> int:
        """Return the image's label."""
        return int(self.labels[index])

    def name(self, index: int) -> str:
        """Return the image's number."""
        return str(index)


@dataclass(frozen=True)
class Pixels:
    """Decoded images: `pixels` (N, C, H, W) uint8, `labels` (N,) int64."""

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load_split(card: DatasetCard, edition: Edition, split: Split, store: Store, watch: Watch = unwatched) -> ImageSet:
    """Fetch an edition's files and open one of its splits.

    Raises:
        DataError: the edition has no such split, or does not hold what its card declares.
    """
    if split not in edition.examples:
        raise DataError(
            f"{card.name}.{edition.name} has no {split} images", why=f"its splits: {', '.join(edition.examples)}"
        )
    name = f"{card.name}.{edition.name}"
    files = {key: store.fetch(file, name, watch) for key, file in edition.files.items()}
    images: ImageSet = resolve(card.loader)(files, split)
    if len(images) != edition.examples[split] or images.classes != card.classes:
        raise DataError(
            f"{name} does not hold what its card declares",
            why=f"{split}: {len(images)} images of {list(images.classes)}, "
            f"not {edition.examples[split]} of {list(card.classes)}",
            fix=f"zoo cache verify, then zoo pull {name}",
        )
    return images


@dataclass(frozen=True)
class Mode:
    """Converts a PIL image to "RGB" or "L", by way of `plain`."""

    mode: str

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image in the mode."""
        return plain(image).convert(self.mode)


def middle(image: Image.Image) -> Image.Image:
    """Return the middle of a very long picture, of which a centre crop would keep less anyhow.

    Without it, a line of a million pixels would first be made as high as the crop, and as long in proportion.
    """
    longest = LONGEST * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))


def sizing(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to (C, size, size) uint8."""
    filters = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
    how = filters.get(spec.interpolation, InterpolationMode.BICUBIC)
    if spec.resize == "squash":
        steps = [v2.Resize((spec.size, spec.size), how)]
    else:
        steps = [middle, v2.Resize(int(spec.size / spec.crop_fraction), how), v2.CenterCrop(spec.size)]
    return v2.Compose([Mode("RGB" if spec.channels == 3 else "L"), *steps, v2.PILToTensor()])


def scaling(spec: ImageInput) -> v2.Compose:
    """Return the steps from uint8 (…, C, H, W) to normalised float32."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(spec.mean), list(spec.std))])


def preprocessing(spec: ImageInput) -> v2.Compose:
    """Return the steps from a PIL image to the (C, size, size) float32 tensor that a model sees."""
    return v2.Compose([*sizing(spec).transforms, *scaling(spec).transforms])


def at_once(spec: ImageInput) -> int:
    """Return how many images go well through a model together when nothing is learned: some 8 million values."""
    return max(1, min(1024, 2**23 // (spec.channels * spec.size**2)))


def labels_of(images: ImageSet) -> Tensor:
    """Return all labels, (N,) int64, without decoding an image."""
    return torch.tensor([images.label(index) for index in range(len(images))])


def names_of(images: ImageSet) -> tuple[str, ...]:
    """Return what to call each image."""
    return tuple(images.name(index) for index in range(len(images)))


def stream(images: ImageSet, spec: ImageInput, indices: Sequence[int], batch_size: int) -> Iterator[Tensor]:
    """Yield (n, C, H, W) uint8 batch after batch, in the order of the indices, decoding ahead in threads.

    Raises:
        DataError: an image is damaged.
    """
    size = sizing(spec)
    return map(torch.stack, ahead(lambda index: size(images[index][0]), indices, batch_size))


def decode(images: ImageSet, spec: ImageInput) -> Pixels:
    """Decode and size a whole set, to be held in memory: size² · channels bytes an image."""
    pixels = torch.empty(len(images), spec.channels, spec.size, spec.size, dtype=torch.uint8)
    done = 0
    for batch in stream(images, spec, range(len(images)), batch_size=64):
        pixels[done : done + len(batch)] = batch
        done += len(batch)
    return Pixels(pixels, labels_of(images), names_of(images))


def ahead(make: Callable[[Item], Made], items: Iterable[Item], batch_size: int) -> Iterator[list[Made]]:
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
