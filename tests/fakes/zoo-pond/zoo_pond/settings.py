from __future__ import annotations

from pydantic import BaseModel, Field, PositiveInt


class PatientSettings(BaseModel, extra="forbid"):
    checkpoint_every: PositiveInt = Field(default=2, description="steps between checkpoints")
