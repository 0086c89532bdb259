"""Which images to evaluate on, by name: a folder, an edition of a dataset, or what a run was about."""

from __future__ import annotations

from pathlib import Path

from zoo_core.cards import DatasetCard, Edition, ModelCard, Split
from zoo_core.engine.data.batches import load_split
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.errors import DataError, UnknownName, UsageError
from zoo_core.images.audit import images_of
from zoo_core.images.folder import scan
from zoo_core.images.image_sets import ImageSet
from zoo_core.registry.registry import Registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

PREFERRED: tuple[Split, ...] = ("test", "validation", "train")


def open_eval_data(
    registry: Registry,
    store: Store,
    target: str,
    *,
    data: Path | None = None,
    dataset: str | None = None,
    split: Split | None = None,
) -> tuple[str, ImageSet]:
    """Return what to call the images, and the images.

    Without `data` or `dataset`: what the run trained on, or what the model's weights were measured on. Without `split`:
    test, else validation.

    Raises:
        UsageError: nothing says which images are meant.
        DataError: there is no such split.
    """
    if data is None and dataset is None:
        data, dataset = _of_target(registry, target)
    if data is not None:
        folder = scan(data)
        chosen = split or _preferred(list(folder.splits))
        return f"{data} ({chosen})", images_of(folder, chosen)
    assert dataset is not None
    card, edition = _edition(registry, dataset)
    chosen = split or _preferred(list(edition.examples))
    return f"{card.name}.{edition.name} ({chosen})", load_split(card, edition, chosen, store)


def require_same_classes(predictor: Predictor, images: ImageSet) -> None:
    """Raise DataError unless the images' classes are the model's, in its order."""
    if images.classes != predictor.classes:
        raise DataError(
            "the images have other classes than the model",
            why=f"theirs: {', '.join(images.classes)}; the model's: {', '.join(predictor.classes)}",
            fix="--data DIR with one folder for each of the model's classes",
        )


def _of_target(registry: Registry, target: str) -> tuple[Path | None, str | None]:
    if target in registry.models:
        return None, _default_dataset(registry.model(target))
    plan = RunDir.open(Path(target)).plan()
    return plan.data, f"{plan.dataset.name}.{plan.edition.name}"


def _default_dataset(card: ModelCard) -> str:
    for weights in card.weights:
        for probe in weights.reported:
            return probe.dataset if probe.edition is None else f"{probe.dataset}.{probe.edition}"
    raise UsageError(f"nothing says what to evaluate {card.name} on", fix="--dataset NAME.EDITION, or --data DIR")


def _edition(registry: Registry, name: str) -> tuple[DatasetCard, Edition]:
    if name in registry.datasets:
        return registry.dataset(name), registry.dataset(name).edition()
    dataset, dot, edition = name.rpartition(".")
    if not dot or dataset not in registry.datasets:
        raise UnknownName("dataset", dataset if dot else name, registry.datasets)
    return registry.dataset(dataset), registry.dataset(dataset).edition(edition)


def _preferred(splits: list[Split]) -> Split:
    return next(split for split in PREFERRED if split in splits)
