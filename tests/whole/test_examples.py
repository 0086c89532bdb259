"""The examples in docs/examples are built, installed and run, and their own tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whole.test_plugins_installed import install, zoo

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    install(target, *sorted(EXAMPLES.iterdir()))
    return target


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_an_examples_own_tests_pass(name: str, site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLES / name)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    tests = str(EXAMPLES / name / "tests")
    done = subprocess.run([*command, tests], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_alexnet_is_counted_layer_by_layer(site: Path, tmp_path: Path) -> None:
    checked = zoo("check", "alexnet", path=site, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "61,100,840" in checked.stdout
    assert "4,097,000" in checked.stdout
    assert "37,752,832" in zoo("show", "alexnet", "--layers", path=site, cwd=tmp_path).stdout
