"""How commands show what was held against what is declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo_core.cli.console import percent, print_json, print_table
from zoo_core.errors import CheckFailed, Problem

if TYPE_CHECKING:  # torch starts where something is checked
    from zoo_core.results import Check


def show_checks(found: Sequence[Check], problems: Sequence[Problem] = (), *, json: bool) -> None:
    """Print all checks; problems count as failed ones.

    Raises:
        CheckFailed: one did not hold.
    """
    if json:
        print_json([{**vars(one), "passed": one.passed} for one in found])
    else:
        rows = [(c.subject, c.what, *_texts(c), _verdict(c)) for c in found]
        print_table(("", "", "expected", "found", "held"), rows, right=["expected", "found"])
    failed = ["{}: {}: expected {}, found {}".format(c.subject, c.what, *_texts(c)) for c in found if not c.passed]
    failed += [f"{problem.subject}: {problem.cause}" for problem in problems]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(found)} checks failed", why="\n".join(f"  {line}" for line in failed))


def _verdict(check: Check) -> str:
    return "not tried" if not check.tried else "yes" if check.passed else "NO"


def _texts(check: Check) -> tuple[str, str]:
    """Return what was expected and what was found; accuracies in percent."""
    fractions = check.kind == "fraction"
    return _text(check.expected, fractions), _text(check.found, fractions)


def _text(value: object, fractions: bool = False) -> str:
    """Return a count with its commas, and shapes as 16 × 75 × 75, one for each call."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) if any(isinstance(v, tuple) for v in value) else " × ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float) and fractions:
        return percent(value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
