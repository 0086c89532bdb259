from __future__ import annotations

from pathlib import Path

import zoo_core as zoo
from zoo_core.testing import check_distribution


def test_everything_it_brings_keeps_its_word() -> None:
    check_distribution("{{ distribution }}")


def test_its_recipe_learns(tmp_path: Path) -> None:
    result = zoo.run("{{ name }}", out=tmp_path)
    assert result.metrics["test_accuracy"] > 0.5  # chance is {{ "0.33" if kind == "dataset" else "0.1" }}
