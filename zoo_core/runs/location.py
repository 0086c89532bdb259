"""Where a new run is written: a folder named after the time, and `latest`, which links to it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from zoo_core.disk.atomic import disk_errors


def create_run_folder(parent: Path) -> Path:
    """Create a folder named after the UTC time; two runs that start in the same second get different folders.

    Raises:
        ResourceError: the folder cannot be created.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
    for attempt in count(1):
        folder = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        with disk_errors(folder), suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("count() never ends")


def link_latest(run: Path) -> None:
    """Let `latest`, next to the run, link to it, where the file system supports links."""
    latest = run.with_name("latest")
    with suppress(OSError):
        temporary = run.with_name(f".latest.{run.name}")
        temporary.symlink_to(run.name)
        temporary.replace(latest)
