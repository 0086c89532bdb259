"""Measures exported files alongside PyTorch, on the same images in the same process."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.parity import Way, compare, torch_ways
from zoo_core.engine.export.pictures import Pictures
from zoo_core.errors import UsageError
from zoo_core.events import Event
from zoo_core.exported.description import Parity
from zoo_core.exported.model import ExportedModel


def bench(
    predictor: Predictor, files: Mapping[Path, ExportedModel], pictures: Pictures
) -> Generator[Event, None, Parity]:
    """Compare a model in PyTorch with its exported files; yields the progress.

    Raises:
        UsageError: a file has other classes or another input than the model.
        DataError: an image is damaged.
    """
    ways = torch_ways(predictor, ExportGraph.of(predictor))
    for path, exported in files.items():
        theirs = exported.description
        if (theirs.classes, theirs.input) != (predictor.classes, predictor.input):
            raise UsageError(
                f"{exported.origin} is not an export of {predictor.origin}",
                why=f"it is of {theirs.model}, {theirs.origin}, with {len(theirs.classes)} classes",
            )
        ways[exported.origin] = Way(exported.run, _size_on_disk(path))
    return (yield from compare(ways, pictures, predictor.input, predictor.thresholds))


def _size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
