"""`zoo cache`: list, verify and delete what the Store has cached."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_core.cli.console import eprint, human_bytes, print_json, print_table
from zoo_core.cli.options import Json, registry
from zoo_core.errors import IntegrityError, UnknownName
from zoo_core.pull import labels
from zoo_core.registry.registry import Registry
from zoo_core.store.cache_folder import Entry
from zoo_core.store.store import Store

SHORTEST_KEY = 6  # characters of a key

app = typer.Typer(
    help="List, verify and delete cached weights, data and features.", no_args_is_help=True, add_completion=False
)


@app.command()
def ls(context: typer.Context, json: Json = False) -> None:
    """List cached files."""
    store = Store.default()
    entries = _labelled(registry(context), store)
    if json:
        rows = [{"name": n, "kind": e.kind, "key": e.key, "size": e.size, "path": str(e.path)} for n, e in entries]
        return print_json(rows)
    if entries:
        lines = [(name, entry.kind, entry.key[:12], human_bytes(entry.size)) for name, entry in entries]
        print_table(("name", "kind", "key", "size"), lines, right=["size"])
    eprint(f"{human_bytes(sum(entry.size for _, entry in entries))} in {store.root}")
    return None


@app.command()
def rm(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name or key that ls lists, features, or all.")],
) -> None:
    """Delete cached files; they are downloaded or computed again when needed."""
    store = Store.default()
    entries = _labelled(registry(context), store)
    chosen = _chosen(name, entries)
    if not chosen and name != "all":
        raise UnknownName("cached file", name, [label for label, _ in entries], fix="zoo cache ls")
    for entry in chosen:
        store.remove(entry)
    print(f"{len(chosen)} deleted, {human_bytes(sum(entry.size for entry in chosen))}")


@app.command()
def verify(context: typer.Context) -> None:
    """Hash all cached files; delete damaged ones, and temporary files left by killed processes."""
    store = Store.default()
    swept = store.sweep()
    entries = _labelled(registry(context), store)
    damaged = [(label, entry) for label, entry in entries if not store.verify(entry)]
    for _, entry in damaged:
        store.remove(entry)
    if damaged:
        names = ", ".join(label for label, _ in damaged)
        raise IntegrityError(f"{len(damaged)} of {len(entries)} were damaged and have been deleted", why=names)
    print(f"{len(entries)} intact" + (f"; {swept} unfinished, over a day old, deleted" if swept else ""))


def _labelled(known: Registry, store: Store) -> list[tuple[str, Entry]]:
    names = labels(known, store)
    return [(names.get(entry.key, entry.kind), entry) for entry in store.entries()]


def _chosen(name: str, entries: list[tuple[str, Entry]]) -> list[Entry]:
    """Return the entries with this name, key or key prefix; if there are none, those whose names start with it."""
    by_key = len(name) >= SHORTEST_KEY
    chosen = [e for label, e in entries if name in ("all", label) or (by_key and e.key.startswith(name))]
    return chosen or [e for label, e in entries if name and label.startswith(f"{name}.")]
