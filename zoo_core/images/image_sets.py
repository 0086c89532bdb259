"""Sets of labelled images: zips, arrays and folders of image files."""

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
class FolderImages:
    """Image files with labels; each is read when it is asked for."""

    root: Path
    files: tuple[tuple[Path, int], ...]
    classes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image's bytes, path and label."""
        digest = hashlib.sha256()
        for index, (path, label) in enumerate(self.files):
            try:
                digest.update(f"{self.name(index)}\0{label}\0{hash_of(path)}".encode("utf-8", "surrogateescape"))
            except OSError as error:
                why = error.strerror or "the system says no"
                raise DataError(f"{printable(str(path))} cannot be read any more", why=why) from error
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.files[index]
        return read_image(path), label

    def label(self, index: int) -> int:
        """Return the place of the image's folder among the classes."""
        return self.files[index][1]

    def name(self, index: int) -> str:
        """Return the image's path inside the folder."""
        return self.files[index][0].relative_to(self.root).as_posix()
