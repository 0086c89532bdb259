"""Draws the README's picture: `python docs/picture.py` runs the command and saves its output as SVG."""

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
    """Run the command and draw what it prints, without the progress lines that a terminal would erase."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-m", "zoo_core", *COMMAND.split()[1:]],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # keeps the lines of both streams in order
            check=True,
        )
    lines = [line.rstrip() for line in run.stdout.splitlines() if " of " not in line]
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(Text(f"$ {COMMAND}", style="bold"))
    console.print(Text("\n".join(lines)))
    without_web_fonts = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
    console.save_svg(str(TARGET), title="zoo", code_format=without_web_fonts)


if __name__ == "__main__":
    main()
