"""Names of unfinished files: hidden, unique, and naming the process that writes them."""

from __future__ import annotations

import os
import platform
import re
import uuid
from contextlib import suppress
from pathlib import Path

NAMED = re.compile(r"\..*\.[0-9a-f]{16}\.(\d{1,9})@(.*)\.part", re.DOTALL)  # process, machine
NOBODY = 0  # instead of a process: it was abandoned on purpose, for any process to pick up


def temporary_name(name: str, process: int | None = None) -> str:
    """Return a name for a file that will be called `name`; without `process`, this process is its writer."""
    start = name.encode(errors="ignore")[:150].decode(errors="ignore")  # file systems limit names to 255 bytes
    return f".{start}.{uuid.uuid4().hex[:16]}.{os.getpid() if process is None else process}@{_machine()}.part"


def is_temporary(path: Path) -> bool:
    """Return whether `temporary_name` made this name; other hidden files are left alone."""
    return NAMED.fullmatch(path.name) is not None


def is_gone(path: Path) -> bool | None:
    """Return whether the process in a temporary name has ended; None if this process cannot know."""
    named = NAMED.fullmatch(path.name)
    if named and int(named[1]) == NOBODY:
        return True
    if not named or named[2] != _machine() or os.name != "posix":
        return None
    return not _is_alive(int(named[1]))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


def _machine() -> str:
    """Return what process numbers are relative to: the host, its boot, and the PID namespace (of a container)."""
    parts = [platform.node()[:32]]
    with suppress(OSError):  # only Linux has these
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")[:8])
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "+".join(parts)
