"""Fixtures of the engine's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes whose colors overlap."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("ducks", "frogs", "newts")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(24):
            pixels = generator.integers(0, 200, (8, 8, 3), dtype=np.uint8)
            pixels[..., label] = np.minimum(255, pixels[..., label] + generator.integers(0, 60))
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"
