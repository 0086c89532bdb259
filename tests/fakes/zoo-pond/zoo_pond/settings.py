from __future__ import annotations

from pydantic import BaseModel, PositiveInt


class PatientSettings(BaseModel, extra="forbid"):
    checkpoint_every: PositiveInt = 2  # steps
