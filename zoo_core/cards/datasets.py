"""Datasets of labeled images and their editions."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, PositiveInt

from zoo_core.cards.fields import (
    FrozenModel,
    Name,
    Reference,
    Split,
    Task,
)
from zoo_core.cards.files import File
from zoo_core.errors import UnknownName


class Edition(FrozenModel):
    """One version of a dataset: all of it, or a sample."""

    name: Name
    summary: str
    files: Mapping[str, File] = Field(description="by the key that the loader uses")
    examples: Mapping[Split, PositiveInt] = Field(description="number of images in each split")


class DatasetCard(FrozenModel):
    """One dataset of labeled images.

    `loader(files: Mapping[str, Path], split) -> ImageSet` opens one split of an edition's files. It may raise DataError
    if their content is not what it expects. Any other exception is a bug in the plugin.
    """

    name: Name
    summary: str
    license: str
    attribution: str
    source: str
    classes: tuple[str, ...] = Field(
        description="in label order: label 0 is the first. For class folders, sort the folder names as plain strings"
    )
    task: Task = Field(default="single-label", description="how many classes an image has")
    editions: tuple[Edition, ...] = Field(min_length=1, description="the first is the default")
    loader: Reference | None = Field(
        default=None, description="None: the user's own images, which a plan names in `data`"
    )

    def edition(self, name: str | None = None) -> Edition:
        """Return one edition; None: the first. Raises UnknownName."""
        editions = {edition.name: edition for edition in self.editions}
        if name is not None and name not in editions:
            raise UnknownName(f"edition of {self.name}", name, editions, fix=f"zoo show {self.name}")
        return editions[name] if name is not None else self.editions[0]
