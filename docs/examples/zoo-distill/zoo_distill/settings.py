"""The trainer's own settings, in a module that needs no torch: `zoo run horses-distill --set settings.soft=0.5`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from zoo_core import FrozenModel


class DistillationSettings(FrozenModel):
    """What a recipe may set."""

    teacher: str = "horses-inception"  # any installed model with trained weights for the data's classes
    teacher_weights: str = "pretrained"  # or a name on its card
    temperature: Annotated[FiniteFloat, Field(gt=0)] = 4.0  # what both models' logits are divided by; 1: nothing
    soft: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.9  # the teacher's weight in the loss; the rest is the labels'
