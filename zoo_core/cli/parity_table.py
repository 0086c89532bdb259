"""How exported files compare with PyTorch, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_core.cli.console import human_bytes, percent, print_table

if TYPE_CHECKING:
    from zoo_core.exported.description import Parity


def print_parity(parity: Parity) -> None:
    """Print a row for each way to compute the model."""
    counts = list(parity.ways[0].milliseconds)
    times = [f"ms for {count}" for count in counts]
    headers = ("", "accuracy", "changed answers", "largest difference", *times, "size")
    rows = [
        (
            way.name,
            "-" if way.accuracy is None else percent(way.accuracy),
            f"{way.changed:,}",
            f"{way.largest_difference:.1e}",
            *(f"{way.milliseconds[count]:.1f}" for count in counts),
            human_bytes(way.size),
        )
        for way in parity.ways
    ]
    print_table(headers, rows, title=f"{parity.images:,} images: {parity.data}", right=headers[1:])
