"""Opens the dataset: draws each row of data/shapes.csv as an image of 28 × 28 gray pixels."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from zoo_core import ArrayImages

CLASSES = ("cross", "disc", "square")
SIDE = 28  # pixels


def load(files: Mapping[str, Path], split: str) -> ArrayImages:
    """Return one split. For images in zip files with a folder per class, use ZipImages."""
    with files["shapes"].open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    pixels = np.stack([_drawn(row["shape"], *(int(row[key]) for key in ("x", "y", "radius"))) for row in rows])
    return ArrayImages(pixels, np.array([CLASSES.index(row["shape"]) for row in rows]), CLASSES)


def _drawn(shape: str, x: int, y: int, radius: int) -> NDArray[np.uint8]:
    """Return one image, (28, 28) uint8: white on black."""
    down, right = np.mgrid[:SIDE, :SIDE]
    across, along = abs(right - x), abs(down - y)
    inside = {
        "cross": (np.minimum(across, along) <= 1) & (np.maximum(across, along) <= radius),
        "disc": across**2 + along**2 <= radius**2,
        "square": np.maximum(across, along) <= radius,
    }[shape]
    return np.where(inside, 255, 0).astype(np.uint8)
