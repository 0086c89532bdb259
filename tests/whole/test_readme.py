"""Commands and snippets of the README, the tutorials and the how-to pages work; generated pages are up to date."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.whole.test_how_to import FILE
from zoo_core.registry.registry_file import read_registry

ROOT = Path(__file__).parents[2]
REGISTRY_PAGE = (ROOT / "docs" / "reference" / "registry-toml.md").read_text()
README = (ROOT / "README.md").read_text()
TUTORIALS = [path.read_text() for path in sorted((ROOT / "docs" / "tutorial").glob("*.md"))]
HOW_TO = [
    FILE.sub("", path.read_text()) for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))
]  # files: test_how_to
BLOCKS = [
    block for text in (README, *TUTORIALS, *HOW_TO) for block in re.findall(r"```(\w+)\n(.*?)```", text, flags=re.S)
]
COMMANDS = [line.removeprefix("$ ") for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
SNIPPETS = [text for kind, text in BLOCKS if kind == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the image that the README's commands name."""
    path = tmp_path_factory.mktemp("readme")
    (path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "shoe.png", path / "docs")
    return path


def test_there_are_commands_and_snippets() -> None:
    assert len(COMMANDS) >= 6
    assert SNIPPETS


@pytest.mark.slow
@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_every_printed_command_works(command: str, zoo: Zoo, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    program, *arguments = shlex.split(command, comments=True)
    assert program == "zoo"
    said = zoo(*arguments)
    assert said.code == 0, said.err


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_printed_snippet_runs(snippet: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-c", snippet], cwd=folder, check=True, timeout=300)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(schema.*?)```", REGISTRY_PAGE, flags=re.S))
def test_examples_on_the_registry_page_are_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / "zoo.toml").write_text(block)
    assert read_registry(tmp_path / "zoo.toml").version == 1


def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is what `python docs/generate.py` would write now."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stale = [path.name for path, text in module.pages().items() if path.read_text() != text.rstrip() + "\n"]
    assert not stale, "python docs/generate.py"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    line = next(line for line in README.splitlines() if line.strip().endswith("&& pytest"))
    assert line.strip() in (ROOT / ".ci" / "run").read_text().splitlines()
