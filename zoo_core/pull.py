"""Which files belong to a name, and how to get them ahead of time: from their sources, or from local files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo_core.cards import DatasetCard, File, HubFile, ModelCard
from zoo_core.errors import DataError, UnknownName
from zoo_core.events import OnEvent, ignore_event
from zoo_core.registry.registry import Registry
from zoo_core.store.store import Store


def files_of(registry: Registry, target: str) -> dict[str, File | HubFile]:
    """Return the files of NAME (a model's weights, a dataset's first edition, all that a recipe starts from),
    NAME.WEIGHTS or NAME.EDITION, each with a label for people.

    Raises:
        UnknownName: nothing has this name.
    """
    name, part = _parse(registry, target)
    found: dict[str, File | HubFile] = {}
    if name in registry.models:
        found |= _weights(registry.model(name), part)
    if name in registry.datasets:
        found |= _edition(registry.datasets[name], part)
    if name in registry.recipes and part is None:
        plan = registry.plan(name)
        found |= {f"{plan.model.name}.{one.name}": one.file for one in plan.weights}
        found |= _edition(plan.dataset, plan.edition.name)
    return found


def labels(registry: Registry, store: Store) -> dict[str, str]:
    """Return a label for the hash of every file that any card names, and of those that were fetched from the hub."""
    every = [_weights(card, None) for card in registry.models.single.values()]
    every += [{f"{name}.{one.name}": one.file for one in more} for name, more in registry.imported_weights.items()]
    every += [_edition(card, edition.name) for card in registry.datasets.values() for edition in card.editions]
    hub = {pin.sha256: pin.sources[0].uri.removeprefix("hub:").partition("@")[0] for pin in store.pins()}
    return hub | {file.sha256: label for files in every for label, file in files.items() if isinstance(file, File)}


def pull(
    files: dict[str, File | HubFile], store: Store, *, origin: Path | None = None, on_event: OnEvent = ignore_event
) -> Iterator[tuple[str, Path]]:
    """Get every file, from its sources or, with `origin`, from that local file or folder; yield label and path.

    Raises:
        DataError: no local file has the content that is looked for.
    """
    for label, file in files.items():
        if origin is None:
            yield label, store.fetch(file, label, on_event)
        else:
            yield label, _adopt(store.pinned(file, label), label, store, origin)


def _adopt(file: File, label: str, store: Store, origin: Path) -> Path:
    if not origin.exists():
        raise DataError(f"{origin} does not exist")
    wanted = {source.uri.rpartition("/")[2] for source in file.sources}
    found = [origin] if origin.is_file() else [path for path in sorted(origin.rglob("*")) if path.is_file()]
    adopted = store.import_file(file, sorted(found, key=lambda path: path.name not in wanted))
    if adopted is None:
        raise DataError(
            f"{label}: nothing in {origin} has its content",
            why=f"{len(found)} file(s) were looked at, packed and unpacked; sha256 {file.sha256} was in none",
            fix=f"zoo pull {label.partition(' ')[0]}",
        )
    return adopted


def _parse(registry: Registry, target: str) -> tuple[str, str | None]:
    """Split at the last dot, unless the whole is a name: names may hold dots themselves."""
    names = registry.names(("models", "datasets", "recipes"))
    name, dot, part = target.rpartition(".")
    if target in names:
        return target, None
    if not dot or name not in names:
        raise UnknownName("model, dataset or recipe", name if dot and name in names else target, names)
    return name, part


def _weights(card: ModelCard, part: str | None) -> dict[str, File | HubFile]:
    picked = card.weights if part is None else card.pick_weights(part)
    return {f"{card.name}.{one.name}": one.file for one in picked}


def _edition(card: DatasetCard, part: str | None) -> dict[str, File | HubFile]:
    edition = card.edition(part)
    return {f"{card.name}.{edition.name} ({key})": file for key, file in edition.files.items()}
