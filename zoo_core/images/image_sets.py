"""Sets of labeled images: zips, arrays and folders of image files."""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image

from zoo_core.disk.atomic import hash_of
from zoo_core.errors import DataError, printable
from zoo_core.images.decode import MAX_BYTES, decode_image, read_image
from zoo_core.images.labels import Label
from zoo_core.images.names import name_below


class ImageSet(Protocol):
    """A sequence of labeled images in a fixed order.

    It may also have `groups`, a sequence with a text for each image: images with the same text are never divided
    between the folds of a cross-validation.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""

    @property
    def fingerprint(self) -> str:
        """A hash of every image's bytes and label, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, Label]:
        """Return one image and its label; raises DataError if the image is damaged."""

    def label(self, index: int) -> Label:
        """Return one image's label, or its labels if the data is multi-label, without decoding the image."""

    def name(self, index: int) -> str:
        """Return one image's name: its path inside the dataset."""


@dataclass(frozen=True)
class ZipImages:
    """The images in a zip with one folder per class; classes are in plain string order, as in torchvision."""

    path: Path

    def __reduce__(self) -> tuple[object, ...]:
        return ZipImages, (self.path,)  # open files cannot be pickled

    @cached_property
    def _archives(self) -> dict[int, ZipFile]:
        return {}

    def _archive(self) -> ZipFile:
        """Return this process's handle: forked processes would share a file position. Threads may share a handle."""
        if os.getpid() not in self._archives:
            self._archives[os.getpid()] = ZipFile(self.path)
        return self._archives[os.getpid()]

    def _read(self, name: str) -> bytes:
        try:
            with self._archive().open(name) as file:
                return file.read(MAX_BYTES + 1)  # the header may claim less
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
        """Return the index of the image's class."""
        return self.classes.index(self._members[index].partition("/")[0])

    def name(self, index: int) -> str:
        """Return the image's path in the zip."""
        return self._members[index]


@dataclass(frozen=True)
class ArrayImages:
    """Decoded images: (N, H, W) or (N, H, W, 3) uint8, with (N,) labels."""

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
        """Return the image's index as a string."""
        return str(index)


@dataclass(frozen=True)
class FolderImages:
    """Image files with labels; each is read when it is indexed."""

    root: Path
    files: tuple[tuple[Path, Label], ...]
    classes: tuple[str, ...]
    digests: tuple[str, ...] = ()  # SHA-256 of each file, where an audit has computed them; else computed when needed
    groups: tuple[str, ...] = ()  # of each image: those with the same text belong together; (): each is on its own

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image's bytes, path and label.

        Raises:
            DataError: a file cannot be read.
        """
        fingerprint = hashlib.sha256()
        for index, digest in enumerate(self.digests or map(_file_digest, (path for path, _ in self.files))):
            line = f"{self.name(index)}\0{self.label(index)}\0{digest}"
            fingerprint.update(line.encode("utf-8", "surrogateescape"))
        return fingerprint.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, Label]:
        path, label = self.files[index]
        return read_image(path), label

    def label(self, index: int) -> Label:
        """Return the index of the image's class, or the indices of its classes if the data is multi-label."""
        return self.files[index][1]

    def name(self, index: int) -> str:
        """Return the image's path inside the folder, or its whole path if it is elsewhere."""
        return name_below(self.root, self.files[index][0])


def _file_digest(path: Path) -> str:
    try:
        return hash_of(path)
    except OSError as error:
        raise DataError(f"{printable(str(path))} cannot be read", why=error.strerror or str(error)) from error


def names_of(images: ImageSet) -> tuple[str, ...]:
    """Return the name of each image."""
    return tuple(images.name(index) for index in range(len(images)))
