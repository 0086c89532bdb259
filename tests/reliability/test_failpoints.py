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


def run_with(setting: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZOO_FAILPOINT": setting}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_FAILPOINT", raising=False)
    failpoint("a")


@pytest.mark.parametrize(("setting", "passed"), [("a:1:kill", []), ("*:3:kill", ["a", "b.x"]), ("b.*:1:kill", ["a"])])
def test_a_process_is_killed_at_the_failpoint_that_was_named(setting: str, passed: list[str]) -> None:
    done = run_with(setting)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, passed)
    assert done.stderr.startswith(f"failpoint {('a', 'b.x', 'b.y')[len(passed)]}: kill")


def test_a_system_error_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_with("b.*:2:ENOSPC")
    assert f"OSError: [Errno {errno.ENOSPC}] No space left on device" in done.stderr


def test_a_failpoint_that_is_not_reached_often_enough_does_nothing() -> None:
    assert run_with("a:2:kill").returncode == 0
