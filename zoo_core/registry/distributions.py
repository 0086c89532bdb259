"""The installed distributions that bring plugins, as their metadata tells; nothing of theirs is imported.

Metadata is read only of distributions with an entry point of ours, and packaging is imported only for a requirement
that is no plain comparison of released versions: it takes a tenth of the time that `zoo list` does.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.metadata import EntryPoint
from types import MappingProxyType

from zoo_core.errors import Problem, UnknownName
from zoo_core.hookspecs import GROUP
from zoo_core.registry.name_claims import OUR_DISTRIBUTIONS

CORE = re.compile(r"\s*zoo[-_.]+core(?![\w.-])(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
RELEASE = r"\d+(?:\.\d+)*"
CLAUSE = re.compile(rf"(>=|<=|<|>)\s*({RELEASE})")
PLAIN = re.compile(rf"\s*\(?\s*(?:{CLAUSE.pattern}\s*(?:,\s*{CLAUSE.pattern}\s*)*)?\)?\s*")
COMPARE: Mapping[str, Callable[[list[int], list[int]], bool]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}
)


@dataclass(frozen=True)
class Distribution:
    """An installed distribution that brings plugins."""

    name: str  # normalised: "zoo-fashion-cnn"
    version: str = ""
    points: tuple[EntryPoint, ...] = ()
    requires: tuple[str, ...] = ()  # what it asks of zoo-core: "zoo-core>=0.1,<1"
    fault: str = ""  # what is wrong with its metadata

    @property
    def label(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}".strip()

    def provides(self, subject: str) -> bool:
        """Tell whether an Offer's or a Problem's name is of this distribution: "zoo-x 0.1", or "zoo-x 0.1 [second]"."""
        return subject == self.label or subject.startswith(f"{self.label} [")

    @cached_property
    def incompatibility(self) -> Problem | None:
        """Why it cannot be imported, where its metadata tells."""
        if self.fault:
            return Problem(self.label, self.fault, f"zoo plugins disable {self.name}")
        core = _core_version() if self.requires else ""
        unmet = next((one for one in self.requires if core and not satisfies(core, one)), None)
        if unmet is None:
            return None
        cause = f"it needs {unmet.strip()}, and zoo-core {core} is installed"
        ours = f" {self.name}" if self.name in OUR_DISTRIBUTIONS else ""
        return Problem(self.label, cause, f"pip install --upgrade zoo-core{ours}")


def installed() -> list[Distribution]:
    """Return every distribution with an entry point in our group, by name; the first on the path of one name."""
    found: dict[str, Distribution] = {}
    for one in metadata.distributions():
        distribution = _read(one)
        if distribution is not None:
            found.setdefault(distribution.name, distribution)
    return [found[name] for name in sorted(found)]


def installed_as(name: str) -> Distribution:
    """Return the installed distribution of a name, however it is spelt.

    Raises:
        UnknownName: there is none with plugins.
    """
    known = {one.name: one for one in installed()}
    if normalised(name) not in known:
        raise UnknownName("installed plugin", name, known, fix="zoo plugins list")
    return known[normalised(name)]


def normalised(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def satisfies(core: str, requirement: str) -> bool:
    """Tell whether a requirement on zoo-core allows this version of it; one that cannot be read allows none."""
    rest = CORE.fullmatch(requirement)
    if rest is None or not PLAIN.fullmatch(rest["rest"]) or not re.fullmatch(RELEASE, core):
        return _meets_in_full(core, requirement)
    return all(COMPARE[sign](*_padded(core, wanted)) for sign, wanted in CLAUSE.findall(rest["rest"]))


def _meets_in_full(core: str, requirement: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return False
    asked = parsed.marker is None or parsed.marker.evaluate({"extra": ""})
    return not asked or parsed.specifier.contains(core, prereleases=True)


def _padded(one: str, other: str) -> tuple[list[int], list[int]]:
    """Return two releases as numbers, of one length: 1 is 1.0."""
    left, right = ([int(part) for part in release.split(".")] for release in (one, other))
    length = max(len(left), len(right))
    return left + [0] * (length - len(left)), right + [0] * (length - len(right))


def _read(one: metadata.Distribution) -> Distribution | None:
    """Read what a distribution says of itself; None: it has no plugin of ours."""
    try:
        points = tuple(sorted(one.entry_points.select(group=GROUP), key=lambda point: point.name))
    except Exception as error:  # the standard library checks no line of it
        if f"[{GROUP}]" not in (one.read_text("entry_points.txt") or ""):
            return None
        return _described(one, (), f"its entry_points.txt cannot be read: {type(error).__name__}: {error}")
    return _described(one, points, "") if points else None


def _described(one: metadata.Distribution, points: tuple[EntryPoint, ...], fault: str) -> Distribution:
    try:
        told = one.metadata
        name, version = str(told["Name"] or ""), str(told["Version"] or "")
        requires = tuple(line for line in told.get_all("Requires-Dist") or () if CORE.fullmatch(line))
    except Exception:  # no METADATA, or none that can be read
        name, version, requires = "", "", ()
    if name:
        return Distribution(normalised(name), version, points, requires, fault)
    module = points[0].value.partition(":")[0] if points else "unnamed"
    return Distribution(normalised(module), version, points, requires, fault or "its metadata gives it no name")


def _core_version() -> str:
    """Return the installed zoo-core's version; a source tree that is not installed has none, and meets everything."""
    try:
        return metadata.version("zoo-core")
    except metadata.PackageNotFoundError:
        return ""
