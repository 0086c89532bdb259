"""How commands display checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo_core.cli.console import percent, print_json, print_table
from zoo_core.errors import CheckFailed, Problem

if TYPE_CHECKING:  # zoo_core.results is not needed to start the command
    from zoo_core.results import Check


def show_checks(checks: Sequence[Check], problems: Sequence[Problem] = (), *, json: bool) -> None:
    """Print all checks; problems of loading plugins count as failed checks.

    Raises:
        CheckFailed: a check failed.
    """
    if json:
        print_json([{**vars(check), "passed": check.passed} for check in checks])
    else:
        rows = [(c.subject, c.what, *_texts(c), _verdict(c)) for c in checks]
        print_table(("", "", "expected", "found", "passed"), rows, right=["expected", "found"])
    failed = ["{}: {}: expected {}, found {}".format(c.subject, c.what, *_texts(c)) for c in checks if not c.passed]
    failed += [f"{problem.subject}: {problem.cause}" for problem in problems]
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(checks)} checks failed", why="\n".join(f"  {line}" for line in failed)
        )


def _verdict(check: Check) -> str:
    return "not tried" if not check.tried else "yes" if check.passed else "NO"


def _texts(check: Check) -> tuple[str, str]:
    """Return the expected and the found value; accuracies in percent."""
    fractions = check.kind == "fraction"
    return _text(check.expected, fractions), _text(check.found, fractions)


def _text(value: object, fractions: bool = False) -> str:
    """Return a count with thousands separators, a shape as 16 × 75 × 75, or several shapes, one per call."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) if any(isinstance(v, tuple) for v in value) else " × ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float) and fractions:
        return percent(value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
