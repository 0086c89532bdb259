"""Which distribution an import package belongs to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions, version

from zoo_core.registry.distributions import installed


def owner_of(package: str) -> str:
    """Return the name and version of the distribution that a top-level package belongs to, or "" if none is known.

    Editable installs do not list their packages, so the entry points of plugins are read first.
    """
    for distribution in installed():
        if any(point.module.partition(".")[0] == package for point in distribution.points):
            return distribution.label
    names = _distributions(tuple(sys.path)).get(package, [])
    return f"{names[0]} {version(names[0])}" if names else ""


@cache
def _distributions(path: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Return the distributions of each package; `path` is sys.path. Reading all of their files can take a second."""
    return packages_distributions()
