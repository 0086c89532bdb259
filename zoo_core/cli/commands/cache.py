"""`zoo cache`: what the Store holds."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo_core.cli.console import eprint, human_bytes, print_json, print_table
from zoo_core.cli.options import Json, registry
from zoo_core.errors import IntegrityError, UnknownName
from zoo_core.pull import labels
from zoo_core.registry.registry import Registry
from zoo_core.store.store import Entry, Store

SHORTEST_KEY = 6  # characters of a key

app = typer.Typer(
    help="List, verify and delete what is kept: weights, data, features.", no_args_is_help=True, add_completion=False
)


@app.command()
def ls(context: typer.Context, json: Json = False) -> None:
    """List what is kept."""
    store = Store.default()
    entries = _labelled(registry(context), store)
    if json:
        rows = [{"name": n, "kind": e.kind, "key": e.key, "size": e.size, "path": str(e.path)} for n, e in entries]
        return print_json(rows)
    if entries:
        print_table(("name", "key", "size"), [(n, e.key[:12], human_bytes(e.size)) for n, e in entries], right=["size"])
    eprint(f"{human_bytes(sum(entry.size for _, entry in entries))} in {store.root}")
    return None


@app.command()
def rm(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name or key that ls lists, features, or all.")],
) -> None:
    """Delete from what is kept; it is fetched or computed again when needed."""
    store = Store.default()
    entries = _labelled(registry(context), store)
    by_key = len(name) >= SHORTEST_KEY
    chosen = [e for label, e in entries if name in ("all", label) or (by_key and e.key.startswith(name))]
    chosen = chosen or [e for label, e in entries if name and label.startswith(f"{name}.")]
    if not chosen:
        raise UnknownName("kept file", name, [label for label, _ in entries], fix="zoo cache ls")
    for entry in chosen:
        store.remove(entry)
    print(f"{len(chosen)} deleted, {human_bytes(sum(entry.size for entry in chosen))}")


@app.command()
def verify(context: typer.Context) -> None:
    """Hash everything that is kept; delete what is damaged, and what killed processes left unfinished."""
    store = Store.default()
    left = store.sweep()
    entries = _labelled(registry(context), store)
    damaged = [(label, entry) for label, entry in entries if not store.verify(entry)]
    for _, entry in damaged:
        store.remove(entry)
    if damaged:
        names = ", ".join(label for label, _ in damaged)
        raise IntegrityError(f"{len(damaged)} of {len(entries)} were damaged and are deleted", why=names)
    print(f"{len(entries)} intact" + (f"; {left} left unfinished more than a day ago, deleted" if left else ""))


def _labelled(known: Registry, store: Store) -> list[tuple[str, Entry]]:
    named = labels(known, store)
    return [(named.get(entry.key, entry.kind), entry) for entry in store.entries()]
