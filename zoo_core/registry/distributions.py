"""The installed distributions that contain plugins, read from their metadata: none of their code is imported.

Only the metadata of distributions with an entry point in our group is read. `packaging` is imported only for unusual
requirements on zoo-core, because that takes a tenth of the time of `zoo list`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.metadata import EntryPoint

from zoo_core.errors import Problem, UnknownName
from zoo_core.hookspecs import GROUP
from zoo_core.registry.name_claims import OUR_DISTRIBUTIONS

CORE = re.compile(r"\s*zoo[-_.]+core(?![\w.-])(?P<specifier>.*)", re.IGNORECASE | re.DOTALL)
RELEASE = re.compile(r"\d+(\.\d+)*")
CLAUSE = re.compile(r"(>=|<)(\d+(?:\.\d+)*)")
USUAL = re.compile(rf"{CLAUSE.pattern}(,{CLAUSE.pattern})*")  # what `zoo plugins new` writes: ">=0.1", "<1,>=0.1"


@dataclass(frozen=True)
class Distribution:
    """An installed distribution that contains plugins."""

    name: str  # normalized: "zoo-fashion-cnn"
    version: str = ""
    points: tuple[EntryPoint, ...] = ()
    requires: tuple[str, ...] = ()  # its requirements on zoo-core: "zoo-core>=0.1,<1"
    fault: str = ""  # what is wrong with its metadata

    @property
    def label(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}".strip()

    def provides(self, plugin: str) -> bool:
        """Return whether a plugin belongs to this distribution: "zoo-x 0.1", or "zoo-x 0.1 [second]"."""
        return plugin == self.label or plugin.startswith(f"{self.label} [")

    @cached_property
    def incompatibility(self) -> Problem | None:
        """Why it must not be imported, according to its metadata; None if it can be."""
        if self.fault:
            return Problem(self.label, self.fault, f"zoo plugins disable {self.name}")
        core = _core_version() if self.requires else ""
        unmet = next((text for text in self.requires if core and not satisfies(core, text)), None)
        if unmet is None:
            return None
        cause = f"it needs {unmet.strip()}, and zoo-core {core} is installed"
        ours = f" {self.name}" if self.name in OUR_DISTRIBUTIONS else ""
        return Problem(self.label, cause, f"pip install --upgrade zoo-core{ours}")


def installed() -> list[Distribution]:
    """Return every distribution with an entry point in our group, by name; the first on sys.path counts."""
    distributions: dict[str, Distribution] = {}
    for installed_metadata in metadata.distributions():
        distribution = _read(installed_metadata)
        if distribution is not None:
            distributions.setdefault(distribution.name, distribution)
    return [distributions[name] for name in sorted(distributions)]


def installed_as(name: str) -> Distribution:
    """Return the installed distribution with this name, in any spelling.

    Raises:
        UnknownName: no distribution with plugins has this name.
    """
    known = {distribution.name: distribution for distribution in installed()}
    if normalized(name) not in known:
        raise UnknownName("installed plugin", name, known, fix="zoo plugins list")
    return known[normalized(name)]


def normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def satisfies(core: str, requirement: str) -> bool:
    """Return whether a requirement on zoo-core allows version `core`; one that cannot be parsed allows none."""
    match = CORE.fullmatch(requirement)
    if match is None or not USUAL.fullmatch(match["specifier"]) or not RELEASE.fullmatch(core):
        return _satisfies_pep440(core, requirement)
    return all(
        (_release(core) >= _release(version)) == (sign == ">=") for sign, version in CLAUSE.findall(match["specifier"])
    )


def _release(version: str) -> tuple[int, ...]:
    """Return a version as numbers without trailing zeros: 1.0 equals 1."""
    return tuple(map(int, re.sub(r"(\.0+)+$", "", version).split(".")))


def _satisfies_pep440(core: str, requirement: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement  # slow to import, and rarely needed

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return False
    applies = parsed.marker is None or parsed.marker.evaluate({"extra": ""})
    return not applies or parsed.specifier.contains(core, prereleases=True)


def _read(distribution: metadata.Distribution) -> Distribution | None:
    """Read a distribution's metadata; None: it has no entry point in our group."""
    try:
        points = tuple(sorted(distribution.entry_points.select(group=GROUP), key=lambda point: point.name))
    except Exception as error:  # the standard library does not validate the file
        if f"[{GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
            return None
        return _described(distribution, (), f"its entry_points.txt cannot be read: {type(error).__name__}: {error}")
    return _described(distribution, points, "") if points else None


def _described(distribution: metadata.Distribution, points: tuple[EntryPoint, ...], fault: str) -> Distribution:
    try:
        fields = distribution.metadata
        name, version = str(fields["Name"] or ""), str(fields["Version"] or "")
        requires = tuple(line for line in fields.get_all("Requires-Dist") or () if CORE.fullmatch(line))
    except Exception:  # METADATA is missing or unreadable
        name, version, requires = "", "", ()
    if name:
        return Distribution(normalized(name), version, points, requires, fault)
    module = points[0].value.partition(":")[0] if points else "unnamed"
    return Distribution(normalized(module), version, points, requires, fault or "its metadata has no name")


@cache
def _core_version() -> str:
    """Return the installed version of zoo-core; "" in a source tree, which counts as satisfying every requirement."""
    try:
        return metadata.version("zoo-core")
    except metadata.PackageNotFoundError:
        return ""
