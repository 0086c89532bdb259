"""The README is run as it is printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import zoo_core as zoo
from tests.conftest import Zoo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
COMMANDS = [line.removeprefix("$ ") for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
SNIPPETS = [text for kind, text in BLOCKS if kind == "python"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's commands find what they speak of."""
    folder = tmp_path_factory.mktemp("readme")
    zoo.load_dataset("fashion-mnist", "test")[0][0].save(folder / "shoe.png")
    return folder


def test_there_are_commands_and_snippets() -> None:
    assert len(COMMANDS) >= 6
    assert SNIPPETS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(command: str, zoo: Zoo, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    program, *arguments = shlex.split(command, comments=True)
    assert program == "zoo"
    said = zoo(*arguments)
    assert said.code == 0, said.err


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_of_the_readme_works(snippet: str, place: Path) -> None:
    subprocess.run([sys.executable, "-c", snippet], cwd=place, check=True, timeout=300)


def test_ci_runs_the_readmes_test_command() -> None:
    line = next(line for line in README.splitlines() if line.strip().endswith("&& pytest"))
    assert line.strip() in (ROOT / ".ci" / "run").read_text().splitlines()
