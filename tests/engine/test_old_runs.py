"""What commit ece8b4a wrote, before documents named a schema, is still read, reported, predicted with and resumed."""

from __future__ import annotations

from pathlib import Path

OLD = Path(__file__).parents[1] / "fixtures" / "ece8b4a"
