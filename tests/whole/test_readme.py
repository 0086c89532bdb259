"""The README and the tutorial are run as they are printed; generated pages are as the code would write them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import zoo_core as zoo
from tests.conftest import Zoo
from zoo_core.registry.registry_file import read_registry

ROOT = Path(__file__).parents[2]
REGISTRY_PAGE = (ROOT / "docs" / "reference" / "registry-toml.md").read_text()
README = (ROOT / "README.md").read_text()
TUTORIAL = [path.read_text() for path in sorted((ROOT / "docs" / "tutorial").glob("*.md"))]
BLOCKS = [block for text in (README, *TUTORIAL) for block in re.findall(r"```(\w+)\n(.*?)```", text, flags=re.S)]
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


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_a_command_of_the_readme_works(command: str, zoo: Zoo, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    program, *arguments = shlex.split(command, comments=True)
    assert program == "zoo"
    said = zoo(*arguments)
    assert said.code == 0, said.err


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_of_the_readme_works(snippet: str, place: Path) -> None:
    subprocess.run([sys.executable, "-c", snippet], cwd=place, check=True, timeout=300)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(schema.*?)```", REGISTRY_PAGE, flags=re.S))
def test_the_registry_pages_examples_are_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / "zoo.toml").write_text(block)
    assert read_registry(tmp_path / "zoo.toml").version == 1


def test_generated_pages_are_not_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is what `python docs/generate.py` would write now."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stale = [path.name for path, text in module.pages().items() if path.read_text() != text.rstrip() + "\n"]
    assert not stale, "python docs/generate.py"


def test_ci_runs_the_readmes_test_command() -> None:
    line = next(line for line in README.splitlines() if line.strip().endswith("&& pytest"))
    assert line.strip() in (ROOT / ".ci" / "run").read_text().splitlines()
