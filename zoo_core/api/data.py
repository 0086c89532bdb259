"""Datasets by name, and your own images: folders, and CSV files that list them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

from PIL import Image

from zoo_core.cards.fields import Split
from zoo_core.events import OnEvent, drive
from zoo_core.images.audit import audit
from zoo_core.images.folder import names_own_images, scan
from zoo_core.images.image_sets import ImageSet
from zoo_core.images.transformed import TransformedImages
from zoo_core.progress import handled_events
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.store.store import Store


@overload
def load_dataset(
    name: str | Path,
    split: Split = "train",
    *,
    edition: str | None = None,
    transform: None = None,
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> ImageSet: ...


@overload
def load_dataset(
    name: str | Path,
    split: Split = "train",
    *,
    edition: str | None = None,
    transform: Callable[[Image.Image], Any],
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> TransformedImages: ...


def load_dataset(
    name: str | Path,
    split: Split = "train",
    *,
    edition: str | None = None,
    transform: Callable[[Image.Image], Any] | None = None,
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> ImageSet | TransformedImages:
    """Open one split of a dataset: a sequence of (PIL image, label), with `classes`.

    Args:
        name: a dataset's name, which is downloaded unless it is cached; a folder of images; or a CSV file of images.
        split: "train", "validation" or "test".
        edition: None takes the dataset's first.
        transform: applied to each image, such as `transforms(model)`; the result suits a PyTorch `DataLoader`.
        on_event: called with each event, such as the progress of a download.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such dataset, folder or edition.
        DataError: it has no such split.
        NetworkError: it is not cached and could not be downloaded.
    """
    from zoo_core.data.dataset import load_split  # Pillow is imported here, not before

    registry = registry or load_registry()
    if str(name) not in registry.datasets and names_own_images(name):
        with handled_events(on_event, progress) as handle:
            images: ImageSet = drive(audit(scan(Path(name))), handle).images(split)
    else:
        card = registry.dataset(str(name))
        with handled_events(on_event, progress) as handle:
            images = load_split(card, card.edition(edition), split, store or Store.default(), handle)
    return images if transform is None else TransformedImages(images, transform)
