"""Opens the dataset: images from another distribution's archives, with labels from a CSV file in this one."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from PIL import Image

from zoo_core import ZipImages


@dataclass(frozen=True)
class Relabelled:
    """Some images of an archive with other labels: an ImageSet."""

    images: ZipImages
    indices: tuple[int, ...]  # in the archive
    labels: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self.images.classes

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image's bytes and label, in order."""
        return sha256(f"{self.images.fingerprint} {self.indices} {self.labels}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.images[self.indices[index]][0], self.labels[index]

    def label(self, index: int) -> int:
        """Return the image's label from the CSV file."""
        return self.labels[index]

    def name(self, index: int) -> str:
        """Return the image's path in the archive; its folder is the true class."""
        return self.images.name(self.indices[index])


def load(files: Mapping[str, Path], split: str) -> Relabelled:
    """Return one split of an edition: the rows of the CSV file, in their order."""
    images = ZipImages(files[split])
    indices = {images.name(index): index for index in range(len(images))}
    with files["labels"].open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    labels = tuple(images.classes.index(row["class"]) for row in rows)
    return Relabelled(images, tuple(indices[row["image"]] for row in rows), labels)
