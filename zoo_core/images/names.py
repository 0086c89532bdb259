"""The name of an image file inside its dataset."""

from __future__ import annotations

from pathlib import Path


def name_below(root: Path, path: Path) -> str:
    """Return a path relative to a folder, or the whole path if it is not below the folder."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
