"""Settings of this plugin's augmentation."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(ge=0, le=255)]


class FlatBackgroundSettings(BaseModel, extra="forbid"):
    """Settings of `flat-background`."""

    p: Fraction = Field(default=0.5, description="probability that a background is replaced")
    tolerance: tuple[Level, Level] = Field(
        default=(5, 35), description="smallest and largest difference from a color of the border, 0 to 255"
    )
    smallest: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5,
        description="smallest factor for the height and the width of a picture whose background was replaced",
    )
    white: Fraction = Field(default=0.5, description="probability that the new background is white, not a random color")
