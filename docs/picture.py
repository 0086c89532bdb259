"""Draws the README's picture: `python docs/picture.py` runs the main job and keeps what it says, as SVG."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COMMAND = "zoo run horses-inception"
TARGET = Path(__file__).parent / "run.svg"


def main() -> None:
    """Run the command and write the picture; lines of progress, which a terminal would wipe away, are left out."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "zoo_core", *COMMAND.split()[1:]],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # so that both streams come in their order
            check=True,
        )
    said = [line.rstrip() for line in done.stdout.splitlines() if " of " not in line]
    console = Console(record=True, width=104, file=io.StringIO())
    console.print(Text(f"$ {COMMAND}", style="bold"))
    console.print(Text("\n".join(said)))
    without_web_fonts = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
    console.save_svg(str(TARGET), title="zoo", code_format=without_web_fonts)


if __name__ == "__main__":
    main()
