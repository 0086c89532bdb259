"""`zoo plugins`: who brings what, and who could not be loaded."""

from __future__ import annotations

import typer

from zoo_core.cli.console import print_json, print_table
from zoo_core.cli.context import Json, registry
from zoo_core.plugins import Offer


def plugins(context: typer.Context, json: Json = False) -> None:
    """List the installed plugins and what they bring."""
    known = registry(context)
    if json:
        problems = [vars(problem) for problem in known.problems]
        print_json({"plugins": [{"plugin": o.plugin, **_brings(o)} for o in known.plugins], "problems": problems})
    else:
        rows = [(o.plugin, "; ".join(f"{k}: {', '.join(v)}" for k, v in _brings(o).items())) for o in known.plugins]
        print_table(("plugin", "brings"), rows)


def _brings(offer: Offer) -> dict[str, list[str]]:
    brought: dict[str, list[str]] = {}
    for kind, name, _ in offer.items:
        brought.setdefault(kind, []).append(name)
    return brought
