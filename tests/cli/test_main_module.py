"""`python -m zoo_core` and `torchrun -m zoo_core`: no plugin is loaded from the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = "open('loaded', 'w').close()\n"
COMMANDS = {
    "python": [sys.executable, "-m", "zoo_core", "list", "--json"],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", "-m", "zoo_core", "list"],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder from an unknown source that contains an installed plugin."""
    folder = tmp_path / "data"
    metadata = folder / "evil-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[zoo_core]\nevil = evil\n")
    (folder / "evil.py").write_text(PLUGIN)
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_plugin_is_loaded_from_the_current_folder(data: Path, command: list[str]) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=data, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fashion-cnn" in done.stdout
    assert not (data / "loaded").exists()


def test_a_folder_that_the_user_put_on_the_path_stays_there(data: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": str(data)}
    command = COMMANDS["python"]
    done = subprocess.run(command, cwd=data.parent, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (data.parent / "loaded").exists()
