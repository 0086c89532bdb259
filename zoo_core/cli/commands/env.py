"""`zoo env`: versions, machine and settings."""

from __future__ import annotations

from zoo_core.cli.console import print_json, print_table
from zoo_core.cli.options import Json
from zoo_core.runs.environment import environment
from zoo_core.store.store import Store


def env(json: Json = False) -> None:
    """Print versions, machine, cache and settings."""
    fields = environment(Store.default())
    if json:
        return print_json(fields)
    flat = {key: value for key, value in fields.items() if not isinstance(value, dict)}
    flat |= fields["packages"] | fields["plugins"] | fields["variables"]
    print_table(("", ""), [(key, str(value)) for key, value in flat.items()])
    return None
