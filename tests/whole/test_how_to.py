"""The how-to pages' plugins work as printed: each is created, filled in from the page, installed, checked and run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.whole.test_plugins_installed import install, zoo
from zoo_core.plugin_tools.scaffold import Kind, write_plugin

pytestmark = pytest.mark.slow

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
FILE = re.compile(r"^`([\w./]+)`\n\n```(?:python|toml)\n(.*?)^```$", flags=re.M | re.S)


def write_from(page: str, name: str, kind: Kind, folder: Path) -> Path:
    """Create a plugin as the page says, with the files that it prints."""
    return fill(write_plugin(name, kind, folder), page)


def fill(project: Path, page: str) -> Path:
    """Write the files that a page prints into a project."""
    files = FILE.findall((PAGES / page).read_text())
    assert files
    for path, text in files:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    return project


def passes_its_check(project: Path, site: Path, cwd: Path) -> None:
    install(site, project)
    checked = zoo("plugins", "check", project.name, path=site, cwd=cwd)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dataset_passes_its_check_and_trains(tmp_path: Path) -> None:
    project = write_from("a-dataset.md", "leaves", "dataset", tmp_path)
    module = project / "zoo_leaves" / "__init__.py"
    for split, count in (("train", 6), ("validation", 2)):
        packed = pack(project, split, count, tmp_path)
        module.write_text(module.read_text().replace(f'"{split}.zip", 1, "0" * 64', packed))
    passes_its_check(project, tmp_path / "site", tmp_path)
    ran = zoo("run", "leaves", path=tmp_path / "site", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def pack(project: Path, split: str, count: int, folder: Path) -> str:
    """Pack a few images with the page's script, and return the arguments that it says to type."""
    for shade, name in ((60, "ginkgo"), (180, "oak")):
        (folder / split / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (28, 28), shade + 2 * number + len(split)).save(folder / split / name / f"{number}.png")
    command = [sys.executable, "scripts/pack.py", str(folder / split), f"zoo_leaves/data/{split}.zip"]
    printed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout
    _, size, sha256 = printed.split()
    return f'"{split}.zip", {size}, "{sha256}"'


def test_the_trainer_passes_its_check(tmp_path: Path) -> None:
    project = write_from("a-trainer.md", "smoothing", "trainer", tmp_path)
    passes_its_check(project, tmp_path / "site", tmp_path)


def test_the_metric_passes_its_check_and_is_measured(tmp_path: Path) -> None:
    project = fill(tmp_path / "zoo-recall", "a-metric.md")
    passes_its_check(project, tmp_path / "site", tmp_path)
    run = ("run", "horses-cnn", "--epochs", "1", "--set", 'metrics=["recall", "macro-f1"]')
    ran = zoo(*run, path=tmp_path / "site", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    metrics = json.loads((tmp_path / "runs/horses-cnn/latest/result.json").read_text())["metrics"]
    assert {"validation_recall", "validation_macro_f1"} <= set(metrics)
