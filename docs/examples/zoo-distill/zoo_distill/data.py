"""Opens the dataset: images that lie in another distribution's archives, with the labels of a table of this one's."""

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
    """Some of the images of an archive, each with a label that a table gives it: an ImageSet."""

    images: ZipImages
    places: tuple[int, ...]  # in the archive
    labels: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self.images.classes

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image's bytes and label, in order."""
        return sha256(f"{self.images.fingerprint} {self.places} {self.labels}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.images[self.places[index]][0], self.labels[index]

    def label(self, index: int) -> int:
        """Return the image's label, as the table has it."""
        return self.labels[index]

    def name(self, index: int) -> str:
        """Return the image's path in the archive, where its folder tells what it really is."""
        return self.images.name(self.places[index])


def load(files: Mapping[str, Path], split: str) -> Relabelled:
    """Return one split of an edition: the rows of its table, in their order."""
    images = ZipImages(files[split])
    places = {images.name(index): index for index in range(len(images))}
    with files["labels"].open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    labels = tuple(images.classes.index(row["class"]) for row in rows)
    return Relabelled(images, tuple(places[row["image"]] for row in rows), labels)
