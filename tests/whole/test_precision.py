"""bfloat16 costs no accuracy: over five seeds, accuracies and losses match full precision."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

import zoo_core as zoo

pytestmark = pytest.mark.slow


def final(recipe: str, metric: str, precision: str, epochs: int, out: Path) -> list[float]:
    chosen = {"precision": precision}
    return [zoo.run(recipe, epochs=epochs, seed=seed, overrides=chosen, out=out).metrics[metric] for seed in range(5)]


def test_fashion_cnn_is_as_accurate_in_bfloat16(tmp_path: Path) -> None:
    sixteen, plain = (final("fashion-cnn", "test_accuracy", kind, 2, tmp_path) for kind in ("bfloat16", "float32"))
    assert mean(sixteen) == pytest.approx(mean(plain), abs=0.01)  # 1,000 images: two runs differ by as much


def test_horses_cnn_learns_as_much_in_bfloat16(tmp_path: Path) -> None:
    """The loss over the first epoch: its accuracy varies by ten points between seeds, and is less informative."""
    sixteen, plain = (final("horses-cnn", "loss", kind, 1, tmp_path) for kind in ("bfloat16", "float32"))
    assert mean(sixteen) == pytest.approx(mean(plain), abs=0.02)
