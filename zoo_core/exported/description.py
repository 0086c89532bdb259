"""What an exported file says about itself: how to use the model, where it comes from, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, PositiveInt, ValidationError

from zoo_core.cards.fields import FrozenModel, Name, Sha256, Task, Unit
from zoo_core.cards.models import ImageInput


class Measured(FrozenModel):
    """One way to compute a model, on the images of a `Parity`."""

    name: str = Field(description='"PyTorch float32", or an exported file')
    accuracy: Unit | None = Field(default=None, description="None: the images have no labels, or several each")
    changed: int = Field(ge=0, description="images that get another answer than from the first way")
    largest_difference: float = Field(ge=0, description="of a probability, over all images and classes")
    milliseconds: Mapping[PositiveInt, float] = Field(description="for so many images at a time: the median of passes")
    size: PositiveInt = Field(description="bytes of the weights or of the file")


class Parity(FrozenModel):
    """How an exported model compares with PyTorch, on the same images in the same process.

    The first way is PyTorch in float32, the second what zoo computes in by default, then come exported files.
    """

    data: str = Field(description="which images")
    images: PositiveInt
    ways: tuple[Measured, ...]

    def way(self, name: str) -> Measured:
        """Return the way with this name."""
        return next(way for way in self.ways if way.name == name)

    def points_lost(self, way: Measured) -> float:
        """Return how much accuracy a way loses against the first, or without labels the share of changed answers."""
        first, now = self.ways[0].accuracy, way.accuracy
        return 100 * (way.changed / self.images if first is None or now is None else first - now)


class Probe(FrozenModel):
    """A generated picture and PyTorch's probabilities for it, which show whether a copy of the file still works."""

    png: str = Field(description="the picture, in base64")
    probabilities: tuple[float, ...] = Field(description="one for each class")


class Description(FrozenModel):
    """The metadata of an exported file.

    The graph takes `images`, (N, size, size, channels) uint8, RGB or gray, and returns `probabilities` (N, K) float32
    and `logits` (N, K) float32. With several labels per image, the probabilities are independent, and a class is
    predicted from its threshold on.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    zoo: str = Field(description="the version that exported the file")
    model: Name
    origin: str = Field(description="the weights, or the run")
    task: Task
    classes: tuple[str, ...] = Field(description="in the order of the outputs")
    thresholds: tuple[Unit, ...] | None = Field(default=None, description="from which each class is predicted")
    input: ImageInput = Field(description="how to make a picture fit; pixels are normalized inside the graph")
    dataset: str | None = Field(default=None, description="the dataset that it was measured on: NAME.EDITION")
    licenses: Mapping[str, str] = Field(description="of the weights it was trained from and of the data")
    hashes: Mapping[str, Sha256] = Field(description="SHA-256 of the weights files, and of the run's weights")
    quantized: bool = Field(default=False, description="whether it computes in 8-bit integers")
    parity: Parity | None = None
    probes: tuple[Probe, ...] = ()

    @classmethod
    def read(cls, text: str | bytes) -> Description:
        """Return the description in a JSON document.

        Raises:
            ValueError: it is invalid.
        """
        try:
            description = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"its description is invalid: {where}: {first['msg']}") from error
        if description.thresholds is not None and len(description.thresholds) != len(description.classes):
            raise ValueError("its description does not have a threshold for each class")
        return description

    def document(self) -> str:
        """Return it as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
