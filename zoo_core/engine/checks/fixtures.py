"""Small jobs to try a trainer on: a tiny model on noise, or a recipe with a few of its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.models import ImageInput, ModelCard
from zoo_core.cards.trainers import TrainerCard
from zoo_core.data.splits import open_splits
from zoo_core.engine.models.build import build_model, build_planned
from zoo_core.engine.models.weights import load_weights
from zoo_core.engine.training.trainer import Job
from zoo_core.events import drive, ignore_event
from zoo_core.images.image_sets import ArrayImages, ImageSet
from zoo_core.images.labels import Label
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.recipe import Recipe
from zoo_core.store.store import Store

EPOCHS, BATCH, IMAGES = 2, 4, 8
SMALL: Mapping[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "precision": "float32"}  # overrides of a recipe


def small_overrides(trainer: TrainerCard) -> dict[str, Any]:
    """Return the overrides that make a recipe small, of the fields that the trainer uses."""
    return {name: value for name, value in SMALL.items() if name in trainer.uses}


TINY = ModelCard(
    name="tiny",
    summary="A tiny model to try trainers on",
    license="Apache-2.0",
    source="zoo",
    builder="zoo_core.engine.checks.fixtures:Tiny",
    input=ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    num_classes=2,
    head="fc",
    parameters=170,
)


class Tiny(nn.Module):
    """A convolution whose weights can be frozen, BatchNorm, and a head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, kernel_size=3)
        self.bn = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.fc(self.hidden(self.bn(self.conv(images)).relu().mean(dim=(2, 3))).relu())
        return logits


@dataclass(frozen=True)
class ImageSubset:
    """At most IMAGES images of a set, evenly spaced, so that sorted classes are all represented."""

    images: ImageSet

    @cached_property
    def _chosen(self) -> tuple[int, ...]:
        return tuple(range(0, len(self.images), max(1, len(self.images) // IMAGES)))[:IMAGES]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self.images.classes

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the full set's fingerprint and of which images these are."""
        return sha256(f"{self.images.fingerprint} {self._chosen}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Image.Image, Label]:
        return self.images[self._chosen[index]]

    def label(self, index: int) -> Label:
        """Return one image's label."""
        return self.images.label(self._chosen[index])

    def name(self, index: int) -> str:
        """Return one image's name."""
        return self.images.name(self._chosen[index])


@dataclass(frozen=True)
class SeveralLabels:
    """The images of a single-label set with any number of labels each: none, the first class, all but it, or all."""

    images: ImageSet

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self.images.classes

    @property
    def fingerprint(self) -> str:
        """A hash of the images: their labels follow from their order."""
        return sha256(f"{self.images.fingerprint} several labels".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        return self.images[index][0], self.label(index)

    def label(self, index: int) -> Any:  # noqa: ANN401 - a tuple, where single-label sets have an int
        """Return one image's labels, a tuple."""
        return ((), (0,), tuple(range(1, len(self.classes))), tuple(range(len(self.classes))))[index % 4]

    def name(self, index: int) -> str:
        """Return one image's name."""
        return self.images.name(index)


def always_due() -> bool:
    """Always ask for a checkpoint, to test that a trainer can resume from any point."""
    return True


def tiny_job(
    trainer: TrainerCard, settings: Mapping[str, Any], store: Store, changes: Mapping[str, Any] = MappingProxyType({})
) -> Job:
    """Return the job of training a tiny model, the same each time, on noise; its first parameters are frozen.

    `changes` are fields of the recipe.
    """
    return noise_job(TINY, _seeded(partial(build_model, TINY)), trainer, settings, store, {**SMALL, **changes})


def multi_label_job(job: Job) -> Job:
    """Return the same job on the same images, of which each has any number of the classes."""
    dataset = job.plan.dataset.model_copy(update={"task": "multi-label"})
    images = SeveralLabels(job.train)
    return replace(job, train=images, validation=images, plan=job.plan.model_copy(update={"dataset": dataset}))


def few_images_job(plan: Plan, store: Store) -> Job:
    """Return the job of a plan, on the CPU and with a few of its images; the model's first parameters are frozen.

    Raises:
        NetworkError: weights or data are not on this machine, and the store is offline.
    """
    images = drive(open_splits(plan, store), ignore_event).splits
    model = _seeded(partial(build_planned, plan))
    load_weights(model, plan.selection, store)
    validation = ImageSubset(images["validation"]) if "validation" in images else None
    return Job(model, ImageSubset(images["train"]), validation, plan, store, torch.device("cpu"), due=always_due)


def noise_job(
    card: ModelCard,
    model: nn.Module,
    trainer: TrainerCard,
    settings: Mapping[str, Any],
    store: Store,
    changes: Mapping[str, Any],
) -> Job:
    """Return the job of training a model on a few images of noise; `changes` are fields of the recipe."""
    classes = card.classes or tuple(str(number) for number in range(card.num_classes))
    dataset, images = _noise_card(classes), _noise(card.input, classes)
    plan = Plan(
        recipe=Recipe(name="check", summary="check", model=card.name, dataset="noise", **changes),
        model=card,
        dataset=dataset,
        edition=dataset.edition(),
        trainer=trainer,
        settings=settings,
        weights=(),
        classes=classes,
        device="cpu",
    )
    return Job(model, images, images, plan, store, torch.device("cpu"), due=always_due)


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model with the same random parameters each time; the first parameter is frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    next(model.parameters()).requires_grad_(False)
    return model


def _noise_card(classes: tuple[str, ...]) -> DatasetCard:
    edition = Edition(name="noise", summary="noise", files={}, examples={"train": IMAGES})
    return DatasetCard(
        name="noise",
        summary="noise",
        license="CC0-1.0",
        attribution="nobody",
        source="zoo",
        classes=classes,
        editions=(edition,),
        loader="zoo_core:ArrayImages",
    )


def _noise(spec: ImageInput, classes: tuple[str, ...]) -> ArrayImages:
    shape = (IMAGES, spec.size, spec.size) + ((3,) if spec.channels == 3 else ())
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    last = len(classes) - 1  # twice as frequent as the others, so that class weights matter
    return ArrayImages(pixels, np.minimum(np.arange(IMAGES) % (last + 2), last), classes)
