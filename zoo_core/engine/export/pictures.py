"""The images that an exported model is compared on, and those that its 8-bit ranges are measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.cards.models import ImageInput
from zoo_core.data.evaluation import default_images, open_eval_data
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.engine.export.probes import generated_pixels
from zoo_core.events import OnEvent
from zoo_core.exported.model import Pixels, pixel_batches
from zoo_core.images.folder import scan
from zoo_core.images.image_sets import ImageSet
from zoo_core.registry.registry import Registry
from zoo_core.store.store import Store

BATCH = 8  # images at a time
GENERATED = 16  # pictures, where there are no images


@dataclass(frozen=True)
class Pictures:
    """Images, or without them generated pictures."""

    data: str  # what they are called
    images: ImageSet | None = None
    labeled: bool = True  # whether the labels are the model's classes

    @classmethod
    def open(
        cls,
        registry: Registry,
        store: Store,
        target: str | Path,
        classes: tuple[str, ...],
        *,
        data: Path | None,
        split: Split | None = None,
        on_event: OnEvent,
    ) -> Pictures:
        """Open the images in `data`, or those that a run or a model was measured on; generate some if there are none.

        Images in `data` with other classes than the model's are used without their labels.
        """
        own, dataset = (data, None) if data else default_images(registry, target)
        if own is None and dataset is None:
            return cls("generated pictures")
        found = classes if own is None else scan(own).classes
        # two ways to compute a model can be compared on any images, also on those that it was trained on
        opened = open_eval_data(
            registry, store, target, found, data=data, split=split, held_out=False, on_event=on_event
        )
        return cls(opened.name, opened.images, labeled=found == classes)

    def batches(self, spec: ImageInput) -> Iterator[Pixels]:
        """Yield all, (n, size, size, channels) uint8, n at most BATCH."""
        if self.images is not None:
            return pixel_batches(self.images, spec, BATCH)
        pixels = generated_pixels(spec, GENERATED)
        return (pixels[start : start + BATCH] for start in range(0, GENERATED, BATCH))

    def sample(self, spec: ImageInput, count: int) -> list[Pixels]:
        """Return at most `count` of the images in batches, in an order that mixes their classes; none are generated."""
        if self.images is None:
            return []
        chosen = epoch_order(0, 0, len(self.images)).tolist()[:count]
        return list(pixel_batches(self.images, spec, BATCH, chosen))

    def __len__(self) -> int:
        return GENERATED if self.images is None else len(self.images)
