"""Turns exceptions from a plugin's code into failed checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zoo_core.errors import ZooError
from zoo_core.results import Check


def tried(name: str, what: str, expected: object, find: Callable[[], object]) -> Check:
    """Return a check of what a function returns; an exception is a failed check."""
    try:
        return Check(name, what, expected, find())
    except Exception as error:
        return Check(name, what, expected, describe(error))


def guarded(name: str, what: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield checks; an exception is reported as one more, failed check."""
    try:
        yield from checks()
    except Exception as error:
        yield Check(name, what, "no error", describe(error))


def describe(error: Exception) -> str:
    """Return an error in one line: what and why, without the command that fixes it."""
    if isinstance(error, ZooError):
        return ": ".join(part for part in (type(error).__name__, error.what, error.why) if part)
    return f"{type(error).__name__}: {error}"
