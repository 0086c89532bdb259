"""Names of what is not finished: hidden, like no other, and telling which process is at work on it."""

from __future__ import annotations

import os
import platform
import re
import uuid
from pathlib import Path

NAMED = re.compile(r"\.[0-9a-f]{16}\.(\d{1,9})@(.*)\.part$")  # the end of such a name: process and machine
NOBODY = 0  # in place of a process: it has given the file up


def temporary_name(name: str, process: int | None = None) -> str:
    """Return a name for what will be `name`; without `process`, this one is at work on it."""
    start = name.encode(errors="ignore")[:150].decode(errors="ignore")  # file systems take 255 bytes
    return f".{start}.{uuid.uuid4().hex[:16]}.{os.getpid() if process is None else process}@{_machine()}.part"


def is_gone(path: Path) -> bool | None:
    """Tell whether the process that a temporary name tells of has ended; None: that cannot be known from here."""
    named = NAMED.search(path.name)
    if named and int(named[1]) == NOBODY:
        return True
    if not named or named[2] != _machine() or os.name != "posix":
        return None
    return not _lives(int(named[1]))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _machine() -> str:
    return platform.node()[:32]
