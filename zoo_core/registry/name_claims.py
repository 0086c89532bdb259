"""Decides which plugin gets which names, so that no distribution can take a name from another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain

from zoo_core.errors import Problem
from zoo_core.registry.contents import PluginContents

# Distributions of this project: their names belong to them, and messages may suggest to install them.
OUR_DISTRIBUTIONS = (
    "zoo-core",
    "zoo-efficientnet-lite",
    "zoo-fashion-cnn",
    "zoo-horses-cnn",
    "zoo-horses-inception",
    "zoo-horses-or-humans",
    "zoo-timm",
)

Claim = tuple[str, str]  # plural of the kind, name


def settle_names(
    plugins: Iterable[PluginContents], reserved: Mapping[Claim, str]
) -> tuple[list[PluginContents], list[Problem]]:
    """Return the plugins without the names that they do not get, and a Problem for each of those names.

    Names in `reserved` (claim → owner) are not given to any plugin. This project's distributions get their other names;
    a name that two other plugins claim goes to neither.
    """
    ours: list[PluginContents] = []
    others: list[PluginContents] = []
    for plugin in plugins:
        (ours if plugin.plugin.split()[0] in OUR_DISTRIBUTIONS else others).append(plugin)
    ours, problems = _without_conflicts(ours, reserved)
    owners = {**reserved, **{claim: plugin.plugin for plugin in ours for claim in plugin.claimed_names}}
    others, more = _without_conflicts(others, owners)
    return [*ours, *others], [*problems, *more]


def _without_conflicts(
    plugins: list[PluginContents], owners: Mapping[Claim, str]
) -> tuple[list[PluginContents], list[Problem]]:
    """Settle catalogues first: one that is refused no longer claims its models."""
    problems: list[Problem] = []
    for only_catalogues in (True, False):
        claimants: dict[Claim, list[str]] = defaultdict(list)
        for plugin in plugins:
            for claim in plugin.claimed_names:
                if claim[0] == "catalogues" or not only_catalogues:
                    claimants[claim].append(plugin.plugin)
        refused = {claim for claim, names in claimants.items() if len(names) > 1 or claim in owners}
        problems += chain.from_iterable(_problems(claim, claimants[claim], owners) for claim in sorted(refused))
        plugins = [plugin.without(refused) for plugin in plugins]
    return plugins, problems


def _problems(claim: Claim, claimants: list[str], owners: Mapping[Claim, str]) -> list[Problem]:
    plural, name = claim
    problems = []
    for plugin in dict.fromkeys(claimants):
        what = f"it provides the {plural.removesuffix('s')} {name!r}"
        others = ", ".join(other for other in dict.fromkeys(claimants) if other != plugin)
        if claim in owners:
            cause = f"{what}, but that name belongs to {owners[claim]}"
        elif others:
            cause = f"{what}, and so does {others}: neither is used"
        else:
            cause = f"{what} twice: neither is used"
        problems.append(Problem(plugin, cause, f"zoo plugins disable {plugin.split()[0]}"))
    return problems
