"""What the reliability tests counted: printed at the end of a run, and saved as JSON to $ZOO_LEDGER.

python -m pytest tests/reliability                              # the small column: what CI runs
ZOO_RELIABILITY=full ZOO_LEDGER=docs/explanation/reliability.json python -m pytest tests/reliability
python docs/generate.py                                         # writes docs/explanation/reliability.md
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FULL = os.environ.get("ZOO_RELIABILITY") == "full"
COLUMN = "full" if FULL else "ci"
SEED = int(os.environ.get("ZOO_RELIABILITY_SEED", "20261124"))
PACKAGES = ("torch", "pillow", "safetensors", "filelock", "httpx", "pydantic")


def size(ci: int, full: int) -> int:
    """Return how many cases a test should try: few in CI, many for the full table."""
    return full if FULL else ci


@dataclass
class Ledger:
    """Counts by test, and the reasons why tests were skipped."""

    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    skips: dict[str, str] = field(default_factory=dict)

    def record(self, what: str, **counts: float | str) -> None:
        """Record the counts of one kind of fault: `tried`, and everything that must be 0 or equal to it."""
        self.figures[what] = counts

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        yield f"{COLUMN} column, seed {SEED}"
        for what, counts in sorted(self.figures.items()):
            yield f"{what}: " + ", ".join(f"{name} {_shown(value)}" for name, value in counts.items())
        for test, reason in sorted(self.skips.items()):
            yield f"skipped: {test}: {reason}"

    def save(self, path: Path) -> None:
        """Add this run's column to a file, next to the other one; unmeasured counts keep their old values."""
        columns = json.loads(path.read_text()) if path.is_file() else {}
        column = columns.setdefault(COLUMN, {"figures": {}})
        column["figures"] |= self.figures
        column |= {
            "day": datetime.now(UTC).date().isoformat(),
            "seed": SEED,
            "skips": self.skips,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "packages": {name: version(name) for name in PACKAGES},
        }
        path.write_text(json.dumps(columns, indent=1, sort_keys=True) + "\n")


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
