"""The formats that replace PyTorch. To add one: a function for each of its fields, and a line in FORMATS."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from zoo_core.cards.models import ImageInput
from zoo_core.disk.atomic import atomic_write, write_folder
from zoo_core.engine.export import pt2_file
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.onnx_graph import onnx_graph
from zoo_core.engine.export.openvino_graph import openvino_graph
from zoo_core.engine.export.pt2_program import pt2_program
from zoo_core.errors import UsageError, printable
from zoo_core.exported import onnx_file, openvino_folder
from zoo_core.exported.description import Description
from zoo_core.exported.model import ExportedModel

READER = "reader.py"
FormatName = Literal["onnx", "openvino", "pt2", "safetensors"]


@dataclass(frozen=True)
class ExportFormat:
    """How a model becomes a file (`bytes`) or a folder (a mapping of names to `bytes`), and is opened again."""

    suffix: str  # of the file; "": a folder
    convert: Callable[[ExportGraph, ImageInput, str], Any]  # network, size of its images, name in errors -> content
    seal: Callable[[Any, Description], Any]  # content -> the same with its description and checksums
    open: Callable[[Any, str], ExportedModel]  # sealed content, name in errors -> model


FORMATS: Mapping[FormatName, ExportFormat] = {
    "onnx": ExportFormat(onnx_file.SUFFIX, onnx_graph, onnx_file.sealed, onnx_file.model_of),
    "openvino": ExportFormat("", openvino_graph, openvino_folder.sealed, openvino_folder.model_of),
    "pt2": ExportFormat(pt2_file.SUFFIX, pt2_program, pt2_file.sealed, pt2_file.model_of),
}
SUFFIXES: Mapping[FormatName, str] = {
    **{name: form.suffix for name, form in FORMATS.items()},
    "safetensors": ".safetensors",
}


def format_of(path: Path, asked: FormatName | None, command: str) -> FormatName:
    """Return the format to write: the one that is asked for, or that of the path's suffix.

    Raises:
        UsageError: no format has this suffix, or another one than `asked`.
    """
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items() if suffix}
    found = by_suffix.get(path.suffix)
    if asked is None and found is not None:
        return found
    what = f"cannot export to {printable(str(path))}"
    if asked and (expected := SUFFIXES[asked]):
        if found == asked:
            return asked
        fix = f"{command} {shlex.quote(str(_named(path, expected)))}"
        raise UsageError(what, why=f"a file of the format {asked} is called NAME{expected}", fix=fix)
    if asked:
        if found is None:
            return asked
        raise UsageError(
            what,
            why=f"the format {asked} is a folder, and {path.suffix} the suffix of a file",
            fix=f"{command} {shlex.quote(str(path.with_suffix('')))} --format {asked}",
        )
    why = f"{path.suffix or 'a name without a suffix'} is not supported; {', '.join(by_suffix)} are"
    other = shlex.quote(str(_named(path, ".onnx"))) if path.suffix else f"{shlex.quote(str(path))} --format openvino"
    raise UsageError(what, why=why, fix=f"{command} {other}")


def _named(path: Path, suffix: str) -> Path:
    return path.with_suffix(suffix) if path.name else path / f"model{suffix}"


def require_free(path: Path, name: FormatName, command: str, *, force: bool) -> None:
    """Raise UsageError if the path exists; with `force`, unless it is what this format would replace."""
    if not path.exists():
        return
    is_folder = SUFFIXES[name] == ""
    replaceable = path.is_dir() and path.name and (openvino_folder.is_openvino(path) or not any(path.iterdir()))
    if not replaceable if is_folder else path.is_dir():
        raise UsageError(f"{printable(str(path))} exists, and is not an export", why="it is kept; choose another name")
    if not force:
        form = " --format openvino" if is_folder else ""
        raise UsageError(f"{printable(str(path))} exists", fix=f"{command} {shlex.quote(str(path))}{form} --force")


def write(path: Path, content: bytes | Mapping[str, bytes]) -> tuple[int, str]:
    """Write a file or a folder, and return its size in bytes and its SHA-256, for a folder that of its checksums.

    An .onnx file gets a program next to it that uses it without zoo, unless there is one, which may have been changed.
    """
    if not isinstance(content, bytes):
        write_folder(path, content)
        return size_of(content), hashlib.sha256(content[openvino_folder.CHECKSUMS]).hexdigest()
    atomic_write(path, content)
    reader = path.with_name(READER)
    if path.suffix == onnx_file.SUFFIX and not reader.exists():
        atomic_write(reader, (files("zoo_core.exported") / READER).read_bytes())
    return size_of(content), hashlib.sha256(content).hexdigest()


def size_of(content: bytes | Mapping[str, bytes]) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return len(content) if isinstance(content, bytes) else sum(map(len, content.values()))
