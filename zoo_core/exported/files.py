"""The formats of exported models that work without torch: which paths they are, and how to open one."""

from __future__ import annotations

from collections.abc import Callable
from os.path import isfile
from pathlib import Path

from zoo_core.errors import UsageError, printable
from zoo_core.exported.model import ExportedModel
from zoo_core.exported.onnx_file import SUFFIX as ONNX, open_onnx
from zoo_core.exported.openvino_folder import is_openvino, open_openvino


def is_exported(target: str | Path) -> bool:
    """Return whether this is the path of an exported model that needs no torch."""
    return _opener(target) is not None


def open_exported(path: str | Path) -> ExportedModel:
    """Open an exported model, without importing torch.

    Raises:
        UsageError: the path is that of no exported model, or a package is missing.
        IntegrityError: zoo did not write the model, it is damaged, or it contains what zoo does not write.
    """
    if (opener := _opener(path)) is None:
        raise UsageError(f"{printable(str(path))} is not an exported model", why="it is no .onnx file or folder")
    return opener(Path(path))


def _opener(target: str | Path) -> Callable[[Path], ExportedModel] | None:
    if Path(target).suffix == ONNX and isfile(target):  # noqa: PTH113 - a Path of a name that is too long raises
        return open_onnx
    return open_openvino if is_openvino(target) else None
