"""The examples in docs/examples are built, installed and run, and their own tests pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole.test_plugins_installed import environment_with, install, zoo

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    install(target, *sorted(EXAMPLES.iterdir()))
    return target


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_an_examples_own_tests_pass(name: str, site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLES / name)]
    environment = environment_with(site)
    tests = str(EXAMPLES / name / "tests")
    done = subprocess.run([*command, tests], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_alexnet_is_counted_layer_by_layer(site: Path, tmp_path: Path) -> None:
    checked = zoo("check", "alexnet", path=site, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "61,100,840" in checked.stdout
    assert "4,097,000" in checked.stdout
    assert "37,752,832" in zoo("show", "alexnet", "--layers", path=site, cwd=tmp_path).stdout


def test_the_distillation_plugin_is_listed_and_checked(site: Path, tmp_path: Path) -> None:
    listed = json.loads(zoo("list", "--json", path=site, cwd=tmp_path).stdout)
    names = {kind: {one["name"] for one in listed[kind]} for kind in ("datasets", "trainers", "recipes")}
    assert "horses-mislabelled" in names["datasets"]
    assert "distillation" in names["trainers"]
    assert {"horses-distill", "fashion-distill"} <= names["recipes"]
    checked = zoo("plugins", "check", "zoo-distill", "--json", path=site, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    tried = [one["what"] for one in json.loads(checked.stdout) if one["tried"]]
    assert "resuming from the first checkpoint (fashion-distill)" in tried


def test_distillation_runs_without_a_network(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    wrong = zoo("run", "fashion-distill", "--set", "settings.temperature=0", path=site, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "temperature: Input should be greater than 0" in wrong.stderr
    quick = ("--epochs", "1", "--batch-size", "256", "--lr", "0.003")
    ran = zoo("run", "fashion-distill", *quick, "--json", path=site, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["metrics"]["test_accuracy"] > 0.6  # chance: 0.1


@pytest.mark.index
def test_inception_teaches_the_small_network(site: Path, tmp_path: Path) -> None:
    """As in its README, but on the small edition: the teacher's backbone comes from the package index."""
    ran = zoo("run", "horses-distill", "--edition", "small", "--epochs", "2", "--json", path=site, cwd=tmp_path)
    if ran.returncode == 4 and not os.environ.get("CI"):
        pytest.skip(f"the package index cannot be reached: {ran.stderr}")
    assert ran.returncode == 0, ran.stderr
    output = json.loads(ran.stdout)
    assert {"loss", "train_accuracy", "validation_accuracy"} <= output["metrics"].keys()
    predicted = zoo("eval", output["run"], "--json", path=site, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)["accuracy"] == pytest.approx(output["metrics"]["validation_accuracy"], abs=0.04)
