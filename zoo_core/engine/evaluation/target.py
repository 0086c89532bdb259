"""Chooses the images to evaluate on: a folder, an edition of a dataset, or the data of a run."""

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
    target: str | Path,
    *,
    data: Path | None = None,
    dataset: str | None = None,
    split: Split | None = None,
) -> tuple[str, ImageSet]:
    """Return the images and a name for them.

    Without `data` or `dataset`: the data that the run trained on, or on which the model's weights were measured.
    Without `split`: test, otherwise validation.

    Raises:
        UsageError: the model's card names no dataset.
        DataError: the data has no such split.
    """
    if data is None and dataset is None:
        data, dataset = _data_of(registry, str(target))
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
            "the images' classes are not the model's",
            why=f"images: {', '.join(images.classes)}; model: {', '.join(predictor.classes)}",
            fix="zoo eval TARGET --data DIR, with one folder per class of the model",
        )


def _data_of(registry: Registry, target: str) -> tuple[Path | None, str | None]:
    if target in registry.models:
        return None, _default_dataset(registry.model(target))
    plan = RunDir.open(Path(target)).plan()
    return plan.data, f"{plan.dataset.name}.{plan.edition.name}"


def _default_dataset(card: ModelCard) -> str:
    for weights in card.weights:
        for reported in weights.reported:
            return reported.dataset if reported.edition is None else f"{reported.dataset}.{reported.edition}"
    raise UsageError(
        f"the card of {card.name} names no dataset to evaluate on",
        fix=f"zoo eval {card.name} --data DIR, or --dataset NAME.EDITION",
    )


def _edition(registry: Registry, name: str) -> tuple[DatasetCard, Edition]:
    if name in registry.datasets:
        return registry.dataset(name), registry.dataset(name).edition()
    dataset, dot, edition = name.rpartition(".")
    if not dot or dataset not in registry.datasets:
        raise UnknownName("dataset", dataset if dot else name, registry.datasets)
    return registry.dataset(dataset), registry.dataset(dataset).edition(edition)


def _preferred(splits: list[Split]) -> Split:
    return next(split for split in PREFERRED if split in splits)
