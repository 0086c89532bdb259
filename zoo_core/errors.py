"""What can go wrong, as one family: each error knows its exit code and says what, why and what to type next.

ZooError                  1   a bug in zoo
├── UsageError            2   the command, a recipe or a registry file
│   └── UnknownName       2   a name that nothing has
├── DataError             3   images or labels
├── NetworkError          4   bytes that could not be had
├── IntegrityError        5   bytes that are not what was promised
├── ResourceError         6   disk, memory, permission
├── Diverged              7   a loss that is no number any more
├── PluginError           8   a plugin broke its word
└── CheckFailed           9   a documented figure did not hold (only where asked)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

TERMINATED, HUNG_UP = 143, 129  # the exit codes after SIGTERM and SIGHUP, as shells report them: 128 + the number


class ZooError(Exception):
    """Something failed: `what` happened, `why`, and `fix`, the next command to type."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error travel between processes, whatever its class is made from."""
        return _remade, (type(self), self.what, self.why, self.fix)

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.fix and f"Try: {self.fix}") if part)


def _remade(kind: type[ZooError], what: str, why: str, fix: str) -> ZooError:
    error = kind.__new__(kind)
    ZooError.__init__(error, what, why=why, fix=fix)
    return error


class UsageError(ZooError):
    """The command, a recipe or a registry file is not right."""

    exit_code = 2


class UnknownName(UsageError):
    """Nothing has this name; the nearest one is offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, why: str = "", fix: str = "") -> None:
        names = sorted(known)
        super().__init__(f"no {kind} named {name!r}{did_you_mean(name, names)}", why=why, fix=fix or "zoo list")


class DataError(ZooError):
    """Images or labels cannot be used."""

    exit_code = 3


class NetworkError(ZooError):
    """Bytes could not be had from where they were looked for."""

    exit_code = 4


class IntegrityError(ZooError):
    """Bytes are not the ones that were promised, or want to go where they must not."""

    exit_code = 5


class ResourceError(ZooError):
    """The machine has not enough: disk, memory, or a permission."""

    exit_code = 6


class Diverged(ZooError):
    """The loss is no finite number any more."""

    exit_code = 7


class PluginError(ZooError):
    """A plugin broke its word."""

    exit_code = 8


class CheckFailed(ZooError):
    """A declared or documented figure did not hold."""

    exit_code = 9


@dataclass(frozen=True)
class Problem:
    """Something that was left out while loading: the rest works without it."""

    subject: str  # "zoo-broken 0.1" or "recipe 'x' in ./zoo.toml"
    cause: str
    cure: str


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known name, or nothing when none is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def printable(text: str) -> str:
    """Return a name as it can stand in a line: what would break, hide or turn that line is escaped."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
