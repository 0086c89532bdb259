"""Reads weights out of files that PyTorch has pickled: in a process of its own, which is kept from all but that.

This is the one file that unpickles, and what it unpickles can be nothing but tensors, numbers and text: PyTorch's
restricted unpickler refuses the rest. Beside it, the process has limits of memory, time and what it may write, starts
no program, opens no connection, and hands back one safetensors file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from zoo_core.disk.atomic import atomic_write
from zoo_core.disk.sandbox import deny_audit_events, describe_exit, limit_cpu_and_output, limit_memory, run_child
from zoo_core.engine.models.weights import load_tensors, save_tensors
from zoo_core.errors import IntegrityError, printable

SECONDS = 300.0  # for one file
ROOM = 2 * 2**30  # bytes of memory beside four times the file's size
PROGRAM = "from zoo_core.engine.models.unpickle import convert; convert(*sys.argv[1:])"
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # where trainers put the tensors
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before their names
FORBIDDEN = ("os.", "subprocess.", "socket.", "pty.", "shutil.", "ctypes.dlopen", "urllib.", "ftplib.", "webbrowser.")
ALLOWED = ("os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir")  # what writing the answer takes


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that PyTorch, or safetensors, has written; nothing in it is run.

    Raises:
        IntegrityError: it holds anything else, is damaged, or asks for more than a process may have.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return load_tensors(path.read_bytes(), printable(path.name))
    with TemporaryDirectory(prefix="zoo-") as folder:
        target, report = Path(folder, "tensors"), Path(folder, "report")
        code = run_child(PROGRAM, [str(path.absolute()), str(target), str(report)], seconds=SECONDS)
        if code == 0 and target.is_file():
            return load_tensors(target.read_bytes(), path.name)
        raise IntegrityError(
            f"{printable(str(path))} holds no weights that can be read",
            why=_reason(report) or describe_exit(code, SECONDS),
            fix="torch.save(model.state_dict(), FILE) where it was made, or better: safetensors",
        )


def convert(source: str, target: str, report: str) -> None:
    """Turn one file into safetensors, in the process that is there for it."""
    room = 4 * Path(source).stat().st_size + ROOM
    limit_memory(room)
    limit_cpu_and_output(SECONDS, room)
    deny_audit_events(FORBIDDEN, ALLOWED)
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
        atomic_write(Path(target), save_tensors(_dense(dict(_tensors(content)))))
    except Exception as error:
        atomic_write(Path(report), json.dumps(_told(error)).encode())
        sys.exit(1)


def _tensors(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors by name, without what trainers have put around them."""
    if not isinstance(content, Mapping):
        raise TypeError(f"it holds a {type(content).__name__}, not tensors by name")
    for wrapper in WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and any(isinstance(one, Tensor) for one in inner.values()):
            yield from _tensors(inner)
            return
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            yield _bare(name), value


def _bare(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _dense(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise TypeError("it holds no tensor by name")
    odd = [name for name, one in tensors.items() if one.layout != torch.strided or one.is_quantized or one.is_nested]
    if odd:
        raise TypeError(f"{odd[0]} is sparse, quantized or nested")
    return tensors


def _told(error: Exception) -> str:
    """Say in our words why a file was refused: PyTorch's own text tells how to switch the protection off."""
    asked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if asked:
        return f"it holds more than tensors: it asks for {asked.group(1)}"
    if isinstance(error, (TypeError, MemoryError, PermissionError)) and "weights_only" not in str(error):
        return str(error) or "it needs more memory than it may have"
    return f"it is damaged, or of a kind that is not known ({type(error).__name__})"


def _reason(report: Path) -> str:
    try:
        told: Any = json.loads(report.read_bytes())
    except (OSError, ValueError):
        return ""
    return printable(str(told))[:500]
