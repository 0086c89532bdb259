"""The metadata of exported weights, stored in the safetensors header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import ValidationError

from zoo_core.cards.fields import FrozenModel, Name, Sha256
from zoo_core.cards.models import ImageInput

KEY = "zoo"  # in safetensors' metadata, which maps text to text


class WeightsMetadata(FrozenModel):
    """The model that the weights belong to, and everything needed to use them with it."""

    model: Name
    classes: tuple[str, ...]  # in the order of the outputs
    input: ImageInput
    covers: Literal["all", "head"]
    backbone: Name | None = None  # the backbone weights below a head
    options: Mapping[str, str | int | float | bool] = {}  # for the model's builder
    thresholds: tuple[float, ...] | None = None  # from which each class is predicted; None: one class per image
    run_sha256: Sha256  # of the weights that the run saved

    def as_header(self) -> dict[str, str]:
        """Return the metadata as safetensors stores it."""
        absent = {"thresholds"} if self.thresholds is None else set()
        return {"format": "pt", KEY: self.model_dump_json(exclude=absent)}

    @classmethod
    def read(cls, content: bytes) -> Self | None:
        """Return the metadata of a safetensors file; None: it has none that zoo wrote."""
        try:
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return cls.model_validate_json(header["__metadata__"][KEY])
        except (ValueError, LookupError, TypeError, RecursionError, ValidationError):
            return None
