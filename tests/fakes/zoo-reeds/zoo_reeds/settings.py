from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat

Fraction = Annotated[float, Field(ge=0, le=1)]


class SpeckleSettings(BaseModel, extra="forbid"):
    share: Fraction = Field(default=0.1, description="share of the pixels to brighten")


class SignMomentumSettings(BaseModel, extra="forbid"):
    lr: PositiveFloat = Field(default=2e-3, description="learning rate")
    beta: Fraction = Field(default=0.9, description="weight of the running mean")


class FocalSettings(BaseModel, extra="forbid"):
    gamma: NonNegativeFloat = Field(default=2.0, description="how much less easy images count")
