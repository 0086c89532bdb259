"""Processes to be killed: the client of operations.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("operations.py")
START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
NO_LOCKS = "import fcntl; fcntl.flock = lambda *_: None; "  # as on file systems without locks


@dataclass(frozen=True)
class Children:
    """Starts processes and waits for them; their stderr goes to the file `said`."""

    parent: subprocess.Popen[str]
    said: Path

    def start(self, operation: str, *, failpoint: str = "", user: int | None = None, **arguments: Any) -> int:
        """Start a process that does an operation, and return its ID."""
        environment = {"ZOO_FAILPOINT": failpoint} if failpoint else {}
        job = {"operation": operation, "arguments": arguments, "environment": environment, "user": user}
        return self._ask({**job, "said": str(self.said)})

    def wait(self, process: int) -> int:
        """Return a process's exit code, or the negative number of the signal that ended it."""
        return self._ask(process)

    def kill(self, process: int) -> None:
        """Kill a process that nobody has waited for."""
        os.kill(process, signal.SIGKILL)

    def run(self, operation: str, **options: Any) -> int:
        """Start a process and wait for it."""
        return self.wait(self.start(operation, **options))

    def heard(self) -> str:
        """Return what the processes have printed since the last call."""
        text = self.said.read_text() if self.said.exists() else ""
        self.said.unlink(missing_ok=True)
        return text

    def _ask(self, question: Any) -> int:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps(question) + "\n")
        self.parent.stdin.flush()
        return int(self.parent.stdout.readline())


@contextmanager
def children(said: Path, *, locks: bool = True) -> Iterator[Children]:
    """Provide a parent of processes; without `locks`, file locks do nothing in them."""
    command = [sys.executable, "-c", START if locks else NO_LOCKS + START, str(PROGRAM)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:
        yield Children(parent, said)
        assert parent.stdin is not None
        parent.stdin.close()
