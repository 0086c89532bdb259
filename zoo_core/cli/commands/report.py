"""`zoo report`: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.runs.directory import RunDir


def report(
    run: Annotated[Path, typer.Argument(help="The path of a run.")],
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run's report.html again from its files, and print its path."""
    from zoo_core.runs.report import write_report  # imports matplotlib

    page = write_report(RunDir.open(run))
    print(page)
    if open_:
        typer.launch(str(page))
