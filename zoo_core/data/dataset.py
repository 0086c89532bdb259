"""Opens a split of a dataset's edition."""

from __future__ import annotations

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import Split, resolve
from zoo_core.errors import DataError, PluginError
from zoo_core.events import OnEvent, ignore_event
from zoo_core.images.image_sets import ImageSet
from zoo_core.store.store import Store


def load_split(
    card: DatasetCard, edition: Edition, split: Split, store: Store, on_event: OnEvent = ignore_event
) -> ImageSet:
    """Fetch an edition's files and open one of its splits.

    Raises:
        DataError: the edition does not have this split, or its contents differ from its card.
        PluginError: the dataset's loader is missing or cannot be imported.
    """
    if split not in edition.examples:
        raise DataError(
            f"{card.name}.{edition.name} has no {split} images", why=f"its splits: {', '.join(edition.examples)}"
        )
    name = f"{card.name}.{edition.name}"
    files = {key: store.fetch(file, name, on_event) for key, file in edition.files.items()}
    if card.loader is None:
        raise PluginError(f"dataset {card.name} has no loader", why="its card must name a function that opens a split")
    images: ImageSet = resolve(card.loader)(files, split)
    if len(images) != edition.examples[split] or images.classes != card.classes:
        raise DataError(
            f"{name} differs from its card",
            why=f"{split}: {len(images)} images of {list(images.classes)}, "
            f"expected {edition.examples[split]} of {list(card.classes)}",
            fix=f"zoo cache verify && zoo pull {name}",
        )
    return images
