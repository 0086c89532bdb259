"""The trainer's settings, in a module that does not import torch: `zoo run horses-distill --set settings.soft=0.5`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from zoo_core import FrozenModel


class DistillationSettings(FrozenModel):
    """What a recipe may set."""

    teacher: str = "horses-inception"  # an installed model with trained weights for the data's classes
    teacher_weights: str = "pretrained"  # or the name of weights on its card
    temperature: Annotated[FiniteFloat, Field(gt=0)] = 4.0  # both models' logits are divided by it; 1: no softening
    soft: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.9  # the teacher's weight in the loss; the rest is the labels'
