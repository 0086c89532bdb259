"""The trainer's settings; this module does not import torch: `zoo run NAME --set settings.smoothing=0.2`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from zoo_core import FrozenModel


class {{ class }}Settings(FrozenModel):
    """What a recipe may set."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1  # the part of each label that is spread over all classes
