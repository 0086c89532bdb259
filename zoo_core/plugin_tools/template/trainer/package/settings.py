"""The trainer's own settings, in a module that needs no torch: `zoo run --set settings.smoothing=0.2`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt
from zoo_core import Value


class {{ class }}Settings(Value):
    """What a recipe may set."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1  # of the labels: what is taken from the right class
    images: PositiveInt | None = None  # train on the first so many, for a quick try; None: on all
