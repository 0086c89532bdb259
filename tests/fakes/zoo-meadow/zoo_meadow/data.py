from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from zoo_core.cards.fields import Split
from zoo_meadow import CLASSES

COUNTS = {"train": 96, "validation": 48, "test": 24}
HAZY_COUNTS = {"train": 400, "validation": 200, "test": 400}
HAZE = 0.2  # of the contrast remains
SEEDS = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True)
class MeadowImages:
    """Drawn images with tuples of labels."""

    pixels: np.ndarray
    labels: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...] = CLASSES

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.pixels.tobytes() + repr(self.labels).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, tuple[int, ...]]:
        return Image.fromarray(self.pixels[index]), self.label(index)

    def label(self, index: int) -> tuple[int, ...]:
        return self.labels[index]

    def name(self, index: int) -> str:
        return f"{index:03d}.png"


def load(files: Mapping[str, Path], split: Split) -> MeadowImages:
    if "hazy" in files:
        return drawn(HAZY_COUNTS[split], seed=SEEDS[split], contrast=HAZE)
    return drawn(COUNTS[split], seed=SEEDS[split])


def drawn(count: int, *, seed: int, side: int = 8, contrast: float = 1.0) -> MeadowImages:
    generator = np.random.default_rng(seed)
    dark, red, striped = (generator.random(count) < 0.4 for _ in range(3))
    pixels = generator.integers(0, 60, (count, side, side, 3)) + 120
    pixels[dark] -= round(70 * contrast)
    pixels[red, ..., 0] += round(70 * contrast)
    pixels[striped, :, ::2] -= round(40 * contrast)
    marks = np.stack([dark, red, striped], axis=1)
    labels = tuple(tuple(np.flatnonzero(row).tolist()) for row in marks)
    return MeadowImages(pixels.clip(0, 255).astype(np.uint8), labels)
