"""Third-party plugins, actually built and installed, in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def install(target: Path, *distributions: Path) -> None:
    """Build and install without a second torch: no dependencies, no build environment."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *map(str, distributions)], check=True)


def environment_with(path: Path) -> dict[str, str]:
    """Return the environment with a folder first on PYTHONPATH."""
    others = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *others])}


def zoo(*arguments: str, path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = environment_with(path)
    command = [sys.executable, "-m", "zoo_core", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    install(target, ROOT / "tests/fakes/zoo-pond", ROOT / "tests/fakes/zoo-broken")
    return target


def test_a_plugin_is_listed_right_after_its_installation(both: Path, tmp_path: Path) -> None:
    listed = zoo("list", "pond*", path=both, cwd=tmp_path)
    assert listed.returncode == 0
    assert "pond-net" in listed.stdout
    assert "horses-inception" in zoo("list", path=both, cwd=tmp_path).stdout


def test_everything_works_next_to_a_plugin_that_exits_on_import(both: Path, tmp_path: Path) -> None:
    listed = zoo("list", "--json", path=both, cwd=tmp_path)
    assert listed.returncode == 0
    assert {"pond-net", "horses-inception"} <= {one["name"] for one in json.loads(listed.stdout)["models"]}
    assert "Skipped: zoo-broken 0.9: importing 'zoo_broken' raised SystemExit: this plugin is tired" in listed.stderr
    assert "zoo plugins disable zoo-broken" in listed.stderr
    (problem,) = json.loads(zoo("plugins", "--json", path=both, cwd=tmp_path).stdout)["problems"]
    assert problem["subject"] == "zoo-broken 0.9"


def test_its_recipe_runs_and_predicts(both: Path, tmp_path: Path) -> None:
    ran = zoo("run", "pond-patient", "--json", path=both, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "loss" in json.loads(ran.stdout)["metrics"]


def test_wheels_work_in_an_empty_folder(tmp_path: Path) -> None:
    """Without a source tree: the registry is inside the wheel, the data inside the plugins' wheels."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install(site, ROOT, *sorted((ROOT / "plugins").iterdir()))
    assert (site / "zoo_core" / "registry.toml").read_bytes() == (ROOT / "registry.toml").read_bytes()
    assert (site / "zoo_core" / "plugin_tools" / "template" / "dataset" / "package" / "data" / "shapes.csv").is_file()
    program = "import zoo_core, zoo_horses_or_humans as z; print(zoo_core.__file__, z.__file__)"
    environment = environment_with(site)
    where = subprocess.run([sys.executable, "-c", program], env=environment, cwd=empty, capture_output=True, text=True)
    assert where.stdout.count(str(site)) == 2
    checked = zoo("check", "horses-or-humans", path=site, cwd=empty)
    assert checked.returncode == 0, checked.stderr
    assert "1,027" in checked.stdout
