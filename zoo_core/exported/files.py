"""The formats of exported models that work without torch: which files they are, and how to open one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os.path import isfile
from pathlib import Path

from zoo_core.exported.model import ExportedModel
from zoo_core.exported.onnx_file import SUFFIX as ONNX, open_onnx

OPENERS: Mapping[str, Callable[[Path], ExportedModel]] = {ONNX: open_onnx}  # by suffix


def is_exported(target: str | Path) -> bool:
    """Return whether this is the path of an exported model: an existing file with the suffix of a format."""
    return Path(target).suffix in OPENERS and isfile(target)  # noqa: PTH113 - a Path of a name that is too long raises


def open_exported(path: str | Path) -> ExportedModel:
    """Open an exported model, without importing torch.

    Raises:
        UsageError: the suffix is that of no format, or a package is missing.
        IntegrityError: zoo did not write the file, it is damaged, or it contains what zoo does not write.
    """
    return OPENERS[Path(path).suffix](Path(path))
