"""The programs of the child processes in the kill tests. They are forked from a server that has only imported torch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo_core.cli import main
from zoo_core.disk.sandbox import limit_memory
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.registry import load_registry
from zoo_core.runs.checkpoints import Checkpoints


def interruptible(work: Callable[..., None], *arguments: Any) -> None:
    """Run one of the programs below. A background job of a shell starts with SIGINT ignored, and its children too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work(*arguments)


def quiet(log: str) -> None:
    """Send what this process prints to a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)


def zoo(arguments: list[str], variables: dict[str, str], log: str) -> None:
    """Run the command line."""
    quiet(log)
    os.environ.update(variables)
    sys.argv = ["zoo", *arguments]
    main()


def small(arguments: list[str], variables: dict[str, str], size: int, log: str) -> None:
    """Run the command line in a process limited to `size` bytes of data."""
    limit_memory(size)
    zoo(arguments, variables, log)


def pond(variables: dict[str, str], out: str, log: str, fields: dict[str, Any] | None = None) -> None:
    """Train or resume a recipe of the pond, with other fields, and save after every step."""
    import zoo_pond

    from zoo_core.engine.training.run import execute
    from zoo_core.runs.history import find_resumable
    from zoo_core.store.store import Store

    quiet(log)
    os.environ.update(variables)
    manager = new_manager()
    manager.register(zoo_pond, name="zoo-pond 1.2.3")
    plan = load_registry(manager=manager).plan("pond", fields or {})
    execute(
        plan, store=Store.default(), out=Path(out), resume=find_resumable("auto", Path(out), "pond"), checkpoint_every=0
    )


def save(folder: str, variables: dict[str, str], places: list[int], log: str) -> None:
    """Save one checkpoint after another, and report each."""
    quiet(log)
    os.environ.update(variables)
    for place in places:
        Checkpoints(Path(folder)).save(0, place, content(place))
        os.write(1, f"saved {place}\n".encode())


def content(place: int) -> dict[str, bytes]:
    """Return the contents of the checkpoint for a position."""
    return {"state.safetensors": f"tensors of {place}".encode() * 100, "position.json": b"{}", "metrics.jsonl": b""}
