"""`zoo plugins new`: what it writes is built, installed, listed, checked and run, and its tests pass unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.whole.test_plugins_installed import install, zoo as installed_zoo
from zoo_core import ResourceError
from zoo_core.plugin_tools.scaffold import write_plugin

pytestmark = pytest.mark.slow

KINDS = ("model", "dataset", "trainer")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin of each kind."""
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        write_plugin(f"new-{kind}", kind, folder)
    return folder


@pytest.fixture(scope="module")
def site(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    install(target, *sorted(written.iterdir()))
    return target


def test_their_own_tests_pass_unchanged(written: Path, site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(written)]
    tests = [str(written / f"zoo-new-{kind}" / "tests") for kind in KINDS]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [*command, *tests], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_installed_plugins_are_listed_as_ok(site: Path, tmp_path: Path) -> None:
    listed = json.loads(installed_zoo("list", "new-*", "--json", path=site, cwd=tmp_path).stdout)
    kinds = ("models", "datasets", "trainers")
    assert [listed[kind][0]["name"] for kind in kinds] == ["new-model", "new-dataset", "new-trainer"]
    assert {one["name"] for one in listed["recipes"]} == {"new-model", "new-dataset", "new-trainer"}
    doctor = json.loads(installed_zoo("plugins", "doctor", "--json", path=site, cwd=tmp_path).stdout)
    states = {one["distribution"]: (one["state"], one["cause"]) for one in doctor}
    assert [states[f"zoo-new-{kind}"] for kind in KINDS] == [("ok", "")] * 3


@pytest.mark.parametrize("name", ["new-model", "new-dataset"])
def test_zoo_check_counts_what_plugins_provide(name: str, site: Path, tmp_path: Path) -> None:
    checked = installed_zoo("check", name, path=site, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert ("20,490" if name == "new-model" else "240") in checked.stdout


def test_a_new_trainers_settings_can_be_set(site: Path, tmp_path: Path) -> None:
    wrong = installed_zoo("run", "new-trainer", "--set", "settings.smoothing=1", path=site, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "smoothing: Input should be less than 1" in wrong.stderr
    ran = installed_zoo("run", "new-trainer", "--set", "dataset=new-dataset", "--json", path=site, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["metrics"]["loss"] > 0


def test_what_is_written_is_formatted_and_typed(written: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]  # their tests, like ours, need no docstrings
    config = ["--config", str(ROOT / "pyproject.toml"), "--config", "lint.isort.known-first-party=['none']"]
    for arguments in (
        ["check", "--ignore=D1", *config],
        ["format", "--check", "--config", str(ROOT / "pyproject.toml")],
    ):
        done = subprocess.run([*ruff, *arguments, str(written)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_prints_what_to_type_next(zoo: Zoo) -> None:
    said = zoo("plugins", "new", "zoo-pond-life", "--kind", "trainer", "--out", "my plugins")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "cd 'my plugins/zoo-pond-life'",
        'pip install -e ".[test]"',
        "pytest",
        "zoo plugins check zoo-pond-life",
        "zoo run pond-life",
    ]
    assert Path("my plugins/zoo-pond-life/zoo_pond_life/trainer.py").is_file()


def test_nothing_is_overwritten(zoo: Zoo) -> None:
    Path("zoo-mine").mkdir()
    said = zoo("plugins", "new", "mine", "--kind", "model")
    assert said.code == 2
    assert "zoo-mine already exists" in said.err
    assert not list(Path("zoo-mine").iterdir())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("My_Net", "Try: zoo plugins new my-net"),
        ("core", "is not a valid plugin name"),
        ("../up", "Try: zoo plugins new up"),
        ("2d", "is not a valid plugin name"),
        ("a--b", "Try: zoo plugins new a-b"),
        ("", "is not a valid plugin name"),
        ("x" * 41, "at most 40"),
        ("élan", "is not a valid plugin name"),
        ("fashion-cnn", "'fashion-cnn' is taken"),
        ("zoo-horses-cnn", "'horses-cnn' is taken"),
        ("supervised", "'supervised' is taken"),
    ],
)
def test_invalid_plugin_names_are_refused(zoo: Zoo, name: str, text: str) -> None:
    said = zoo("plugins", "new", name, "--kind", "model")
    assert (said.code, said.out) == (2, "")
    assert text in said.err
    assert not list(Path().glob("*zoo*"))


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        write_plugin("net", "model", tmp_path / "file")
