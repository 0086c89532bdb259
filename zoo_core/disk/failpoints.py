"""Places at which a test may let this process fail, one by one: before every write, sync, rename and removal.

    ZOO_FAILPOINT=files.rename:2:kill      the second time that a file is about to get its name: SIGKILL
    ZOO_FAILPOINT='*:17:ENOSPC'            at the 17th place that is passed, whichever it is: the disk is full

Without the variable, passing such a place does nothing.
"""

from __future__ import annotations

import errno
import os
import signal
from fnmatch import fnmatchcase
from itertools import count

_PASSED = count(1)  # of the places that ZOO_FAILPOINT names, how many this process has passed


def failpoint(name: str) -> None:
    """Fail as ZOO_FAILPOINT=NAME:COUNT:ACTION says, if this is the COUNT-th place passed whose name matches NAME.

    ACTION is `kill` (SIGKILL), `int`, `term` (a signal to this process), or the name of a system error such as
    ENOSPC, which is raised as an OSError.
    """
    asked = os.environ.get("ZOO_FAILPOINT")
    if asked is None:
        return
    pattern, number, action = asked.split(":")
    if fnmatchcase(name, pattern) and next(_PASSED) == int(number):
        os.write(2, f"failpoint {name}: {action}\n".encode())
        _fail(action)


def _fail(action: str) -> None:
    signals = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}
    if action in signals:
        os.kill(os.getpid(), signals[action])
    else:
        code = getattr(errno, action)
        raise OSError(code, os.strerror(code))
