"""Which files belong to a name, and how to get them ahead of time: from their sources, or from local files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.files import File, HubFile
from zoo_core.cards.models import ModelCard
from zoo_core.errors import DataError, UnknownName
from zoo_core.events import OnEvent, ignore_event
from zoo_core.registry.registry import Registry
from zoo_core.store.store import Store


def files_of(registry: Registry, target: str) -> dict[str, File | HubFile]:
    """Return the files of a name, each with a label for people.

    `target` is NAME (a model's weights, a dataset's first edition, everything that a recipe starts from),
    NAME.WEIGHTS or NAME.EDITION.

    Raises:
        UnknownName: there is no such model, dataset or recipe.
    """
    name, part = _parse(registry, target)
    files: dict[str, File | HubFile] = {}
    if name in registry.models:
        files |= _weights(registry.model(name), part)
    if name in registry.datasets:
        files |= _edition(registry.datasets[name], part)
    if name in registry.recipes and part is None:
        plan = registry.plan(name)
        files |= {f"{plan.model.name}.{weights.name}": weights.file for weights in plan.weights}
        files |= _edition(plan.dataset, plan.edition.name)
    return files


def labels(registry: Registry, store: Store) -> dict[str, str]:
    """Return a label for the hash of every file that a card names or that was downloaded from the Hub, and for pins."""
    groups = [_weights(card, None) for card in registry.models.single.values()]
    groups += [{f"{name}.{card.name}": card.file for card in more} for name, more in registry.imported_weights.items()]
    groups += [_edition(card, edition.name) for card in registry.datasets.values() for edition in card.editions]
    hub: dict[str, str] = {}
    for key, pin in store.pins().items():
        hub[key] = hub[pin.sha256] = pin.sources[0].uri.removeprefix("hub:").partition("@")[0]
    return hub | {file.sha256: label for files in groups for label, file in files.items() if isinstance(file, File)}


def pull(
    files: dict[str, File | HubFile], store: Store, *, origin: Path | None = None, on_event: OnEvent = ignore_event
) -> Iterator[tuple[str, Path]]:
    """Get every file, from its sources or, with `origin`, from that local file or folder; yield label and path.

    Raises:
        DataError: no local file has the expected content.
    """
    for label, file in files.items():
        if origin is None:
            yield label, store.fetch(file, label, on_event)
        else:
            yield label, _import(file, label, store, origin)


def _import(file: File | HubFile, label: str, store: Store, origin: Path) -> Path:
    if not origin.exists():
        raise DataError(f"{origin} does not exist")
    candidates = [origin] if origin.is_file() else [path for path in sorted(origin.rglob("*")) if path.is_file()]
    names = {source.uri.rpartition("/")[2] for source in file.sources} if isinstance(file, File) else {file.filename}
    path = store.import_file(file, sorted(candidates, key=lambda candidate: candidate.name not in names))
    if path is None:
        sha256 = f" SHA-256 {file.sha256}" if isinstance(file, File) else " the hash that the Hub gives"
        raise DataError(
            f"{label}: no file in {origin} has its content",
            why=f"{len(candidates)} file(s) were checked, as they are and decompressed; none has{sha256}",
            fix=f"zoo pull {quote(label.partition(' ')[0])}",
        )
    return path


def _parse(registry: Registry, target: str) -> tuple[str, str | None]:
    """Split at the last dot, unless the complete text is a name: names may contain dots."""
    names = registry.names(("models", "datasets", "recipes"))
    name, dot, part = target.rpartition(".")
    if target in names:
        return target, None
    if not dot or name not in names:
        raise UnknownName("model, dataset or recipe", name if dot and name in names else target, names)
    return name, part


def _weights(card: ModelCard, part: str | None) -> dict[str, File | HubFile]:
    chosen = card.weights if part is None else card.select(part).cards
    return {f"{card.name}.{weights.name}": weights.file for weights in chosen}


def _edition(card: DatasetCard, part: str | None) -> dict[str, File | HubFile]:
    edition = card.edition(part)
    return {f"{card.name}.{edition.name} ({key})": file for key, file in edition.files.items()}
