"""The exceptions of zoo. Each has an exit code, and says what failed, why, and what to type next.

ZooError                  1   a bug in zoo
├── UsageError            2   the command, a recipe or a registry file
│   └── UnknownName       2   a name that does not exist
├── DataError             3   images or labels
├── NetworkError          4   a download that failed
├── IntegrityError        5   a checksum mismatch, or content that cannot be trusted
├── ResourceError         6   disk, memory, permission
├── Diverged              7   the loss is NaN or infinite
├── PluginError           8   a plugin violated its contract
└── CheckFailed           9   a declared or documented metric did not match (only where asked)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from traceback import walk_tb
from typing import ClassVar

TERMINATED, HUNG_UP = 143, 129  # the exit codes after SIGTERM and SIGHUP, as shells report them: 128 + the number


class ZooError(Exception):
    """Something failed: `what` happened, `why`, and `fix`, the next command to type."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __reduce__(self) -> tuple[object, ...]:
        """Make errors picklable, whatever arguments their class takes."""
        return _rebuild, (type(self), vars(self))

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.fix and f"Try: {self.fix}") if part)


def _rebuild(kind: type[ZooError], fields: dict[str, object]) -> ZooError:
    error = kind.__new__(kind)
    error.args = fields["what"], fields["why"], fields["fix"]
    vars(error).update(fields)
    return error


class UsageError(ZooError):
    """The command, a recipe or a registry file is invalid."""

    exit_code = 2


class UnknownName(UsageError):
    """No `kind` has this `name`; the closest of the `known` names is suggested."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, why: str = "", fix: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        what = f"no {kind} named {name!r}{did_you_mean(name, self.known)}"
        super().__init__(what, why=why, fix=fix or "zoo list")


class DataError(ZooError):
    """Images or labels cannot be used."""

    exit_code = 3


class NetworkError(ZooError):
    """A file could not be downloaded."""

    exit_code = 4


class IntegrityError(ZooError):
    """A checksum does not match, or content cannot be trusted."""

    exit_code = 5


class ResourceError(ZooError):
    """Out of disk space or memory, or permission denied."""

    exit_code = 6


class Diverged(ZooError):
    """The loss is NaN or infinite."""

    exit_code = 7


class PluginError(ZooError):
    """A plugin violated its contract."""

    exit_code = 8


class CheckFailed(ZooError):
    """A declared or documented metric did not match."""

    exit_code = 9


@dataclass(frozen=True)
class Problem:
    """Something that was skipped while loading; the rest works without it."""

    subject: str  # "zoo-broken 0.1" or "recipe 'x' in ./zoo.toml"
    cause: str
    cure: str


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest known name, or "" if none is close."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def author_line(error: BaseException, package: str) -> str:
    """Return "FILE, line N" of the innermost frame of `error` in a package, or "" if it has none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    top, line = re.split(r"[.:]", package)[0], ""
    for frame, number in walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] == top:
            line = f"{frame.f_code.co_filename}, line {number}"
    return line


def printable(text: str) -> str:
    """Return a name; characters that would break, hide or reverse the line it is printed in are escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
