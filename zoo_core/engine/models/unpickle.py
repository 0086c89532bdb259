"""Reads weights from files that PyTorch has pickled, in a sandboxed child process.

Only this module unpickles, with PyTorch's restricted unpickler, which refuses everything but tensors, numbers and text.
In addition, the process is limited in memory, time and output, starts no program, opens no connection, and returns one
safetensors file.
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
BASE_MEMORY = 2 * 2**30  # bytes, in addition to four times the file's size
PROGRAM = "from zoo_core.engine.models.unpickle import convert; convert(*sys.argv[1:])"
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # keys under which trainers store the tensors
ZIP = b"PK\x03\x04"  # how files of torch.save begin, and those from before PyTorch 1.6
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # protocol 2 and the magic number 0x1950a86a20f9469cfc6c
PREFIXES = ("module.", "_orig_mod.")  # which DataParallel and torch.compile prepend to names
FORBIDDEN = ("os.", "subprocess.", "socket.", "pty.", "shutil.", "ctypes.dlopen", "urllib.", "ftplib.", "webbrowser.")
ALLOWED = ("os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir")  # needed to write the result


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that PyTorch or safetensors wrote. No code in it is run.

    Raises:
        IntegrityError: it contains something else, is damaged, or exceeds the limits of the process.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return load_tensors(path.read_bytes(), printable(path.name))
    return load_tensors(_in_sandbox(path), path.name)


def unpickle_weights(path: Path) -> Iterator[bytes]:
    """Yield the tensors of a file that `torch.save` wrote as a safetensors file, under the same names.

    It is for `Source(reader="zoo_core:unpickle_weights")`: cards can name a .pth file, and the Store keeps what it
    contains. The file is read in the sandbox, if it begins as such files do. The same file gives the same bytes.

    Raises:
        IntegrityError: it contains something else, is damaged, or exceeds the limits of the sandbox.
    """
    with path.open("rb") as file:
        head = file.read(len(LEGACY))
    if not head.startswith((LEGACY, ZIP)):  # a process is not started for every file of a folder
        raise IntegrityError(f"{printable(path.name)} contains no weights", why="torch.save did not write it")
    yield _in_sandbox(path)


def _in_sandbox(path: Path) -> bytes:
    """Convert a file in a child process, and return the safetensors file that it wrote."""
    with TemporaryDirectory(prefix="zoo-") as folder:
        target, report = Path(folder, "tensors"), Path(folder, "report")
        code = run_child(PROGRAM, [str(path.absolute()), str(target), str(report)], seconds=SECONDS)
        if code == 0 and target.is_file():
            return target.read_bytes()
        raise IntegrityError(
            f"{printable(str(path))} contains no readable weights",
            why=_reason(report) or describe_exit(code, SECONDS),
            fix="torch.save(model.state_dict(), FILE)",
        )


def convert(source: str, target: str, report: str) -> None:
    """Convert one file to safetensors. This is what the child process runs."""
    limit = 4 * Path(source).stat().st_size + BASE_MEMORY
    limit_memory(limit)
    limit_cpu_and_output(SECONDS, limit)
    deny_audit_events(FORBIDDEN, ALLOWED)
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
        atomic_write(Path(target), save_tensors(_dense(dict(_tensors(content)))))
    except Exception as error:
        atomic_write(Path(report), json.dumps(_explained(error)).encode())
        sys.exit(1)


def _tensors(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors by name, unwrapped from what trainers store around them."""
    if not isinstance(content, Mapping):
        raise TypeError(f"it contains a {type(content).__name__}, not named tensors")
    for wrapper in WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
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
        raise TypeError("it contains no named tensors")
    unusual = [n for n, t in tensors.items() if t.layout != torch.strided or t.is_quantized or t.is_nested]
    if unusual:
        raise TypeError(f"{unusual[0]} is sparse, quantized or nested")
    return tensors


def _explained(error: Exception) -> str:
    """Explain why a file was refused, without PyTorch's own text, which says how to disable the protection."""
    requested = re.search(r"GLOBAL ([\w.]+)", str(error))
    if requested:
        return f"it contains more than tensors: it requests {requested.group(1)}"
    if isinstance(error, (TypeError, MemoryError, PermissionError)) and "weights_only" not in str(error):
        return str(error) or "it exceeds the memory limit"
    return f"it is damaged, or in an unknown format ({type(error).__name__})"


def _reason(report: Path) -> str:
    try:
        reason: Any = json.loads(report.read_bytes())
    except (OSError, ValueError):
        return ""
    return printable(str(reason))[:500]
