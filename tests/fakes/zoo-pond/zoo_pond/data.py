from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo_core import ArrayImages
from zoo_pond import CLASSES

COUNTS = {"train": 48, "validation": 24, "test": 12}


def load(files: Mapping[str, Path], split: str) -> ArrayImages:
    generator = np.random.default_rng(sum(split.encode()))
    labels = np.arange(COUNTS[split]) % len(CLASSES)
    pixels = generator.integers(0, 100, (COUNTS[split], 8, 8, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[..., label] += 100  # each class has a color
    return ArrayImages(pixels, labels, CLASSES)
