from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from zoo_core.disk.failpoints import failpoint

PROGRAM = """
from zoo_core.disk.failpoints import failpoint
for name in ("a", "b.x", "b.y"):
    failpoint(name)
    print(name, flush=True)
"""


def passing(asked: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZOO_FAILPOINT": asked}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_FAILPOINT", raising=False)
    failpoint("a")


@pytest.mark.parametrize(("asked", "passed"), [("a:1:kill", []), ("*:3:kill", ["a", "b.x"]), ("b.*:1:kill", ["a"])])
def test_a_process_is_killed_at_the_place_that_was_named(asked: str, passed: list[str]) -> None:
    done = passing(asked)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, passed)
    assert done.stderr.startswith(f"failpoint {('a', 'b.x', 'b.y')[len(passed)]}: kill")


def test_a_system_error_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = passing("b.*:2:ENOSPC")
    assert f"OSError: [Errno {errno.ENOSPC}] No space left on device" in done.stderr


def test_a_place_that_is_not_reached_so_often_does_nothing() -> None:
    assert passing("a:2:kill").returncode == 0
