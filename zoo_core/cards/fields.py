"""The base of all cards, the constrained types of their fields, and references to code."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zoo_core.errors import PluginError, author_line

Name = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9-]+/)?[a-z0-9]+([._-][a-z0-9]+)*$", min_length=1, max_length=64)
]


Reference = Annotated[str, StringConstraints(pattern=r"^[\w.]+:[\w.]+$")]  # "zoo_fashion_cnn.model:FashionCNN"


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


Repository = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$", max_length=96)]  # "timm/resnet50.a1_in1k"


Uri = Annotated[
    str,
    StringConstraints(
        pattern=r"^((https?|file|package):\S+|index:[A-Za-z0-9][\w.-]*==[\w.!+]+#\S+|hub:[\w.-]+/[\w.-]+@[0-9a-f]{40}#\S+)$"
    ),
]


Split = Literal["train", "validation", "test"]


Task = Literal["single-label", "multi-label"]  # classes per image: exactly one, or any number


Unit = Annotated[float, Field(ge=0, le=1)]


Resize = Literal["squash", "crop", "pad"]  # how an image is made square; see `ImageInput`


Head = Literal["keep", "fresh"]  # load the head that weights have, or leave it at random


class FrozenModel(BaseModel):
    """Base class of all cards and settings: immutable, and unknown keys are an error."""

    # validators are built when a class is first used: most commands use few of them
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def resolve(reference: str) -> Any:  # noqa: ANN401 - what a reference names can be anything
    """Return the object that `reference` ("module:name") names.

    Raises:
        PluginError: it cannot be imported.
    """
    try:
        return resolve_name(reference)
    except Exception as error:
        package = reference.partition(".")[0].partition(":")[0]
        line = author_line(error, package)
        raise PluginError(
            f"{reference!r} cannot be imported",
            why=f"{type(error).__name__}: {error}{line and f' (for its author: {line})'}",
            fix=f"python -c 'import {reference.partition(':')[0]}'",
        ) from error
