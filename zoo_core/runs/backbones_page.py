"""The page of a comparison of backbones: a table, and accuracy against time."""

from __future__ import annotations

import shlex
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from zoo_core.disk.atomic import atomic_write
from zoo_core.errors import UsageError, printable
from zoo_core.runs import charts
from zoo_core.runs.backbones import BackboneRanking
from zoo_core.terminal import human_bytes


def require_html(target: Path) -> Path:
    """Return the path, if it is that of a page.

    Raises:
        UsageError: it does not end in .html.
    """
    if target.suffix.lower() != ".html":
        raise UsageError(
            f"{printable(str(target))} cannot be written",
            why="a comparison is a page (.html)",
            fix=f"zoo compare --data FOLDER -o {shlex.quote(str(target.with_suffix('.html')))}",
        )
    return target


def write_page(ranking: BackboneRanking, target: Path) -> Path:
    """Write the page, and return its path."""
    return atomic_write(target, render(ranking).encode(errors="backslashreplace"))


def render(ranking: BackboneRanking) -> str:
    """Return the page of a comparison."""
    templates = Environment(
        loader=PackageLoader("zoo_core", "runs/templates"), autoescape=True, undefined=StrictUndefined
    )
    templates.filters |= {"printable": printable, "human_bytes": human_bytes}
    points = [
        charts.TimedAccuracy(score.milliseconds, score.accuracy, *score.interval, score is ranking.recommended)
        for score in ranking.measured
    ]
    return templates.get_template("backbones.html").render(
        title=f"Backbones on {printable(Path(ranking.data).name)}",
        ranking=ranking,
        images=max((score.images for score in ranking.measured), default=0),
        chart=charts.accuracy_against_time(points) if points else "",
    )
