"""Points at which a test can make this process fail: before every write, sync, rename and removal.

    ZOO_FAILPOINT=files.rename:2:kill      SIGKILL the second time that a file is about to be renamed
    ZOO_FAILPOINT='*:17:ENOSPC'            a full disk at the 17th failpoint, whichever it is

Without the variable, a failpoint does nothing.
"""

from __future__ import annotations

import errno
import os
import signal
from fnmatch import fnmatchcase
from itertools import count

_PASSED = count(1)  # how many failpoints that match ZOO_FAILPOINT this process has passed


def failpoint(name: str) -> None:
    """Fail as ZOO_FAILPOINT=NAME:COUNT:ACTION says, if this is the COUNT-th failpoint whose name matches NAME.

    ACTION is a signal (`kill`, `int` or `term`), or the name of a system error such as ENOSPC, which is raised as an
    OSError.
    """
    setting = os.environ.get("ZOO_FAILPOINT")
    if setting is None:
        return
    pattern, number, action = setting.split(":")
    if fnmatchcase(name, pattern) and next(_PASSED) == int(number):
        os.write(2, f"failpoint {name}: {action}\n".encode())
        _fail(action)


def _fail(action: str) -> None:
    if action in ("kill", "int", "term"):
        os.kill(os.getpid(), signal.Signals[f"SIG{action.upper()}"])
    else:
        code = getattr(errno, action)
        raise OSError(code, os.strerror(code))
