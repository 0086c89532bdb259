"""Says what is on images, with weights that are published under a name or that a run has made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from zoo_core.cards import ImageInput, ModelCard
from zoo_core.engine.build import build_model, fit_tensors, load_tensors, load_weights
from zoo_core.engine.data import preprocessing
from zoo_core.engine.objective import probabilities
from zoo_core.errors import DataError, IntegrityError, PluginError
from zoo_core.folders import SUFFIXES, images_below
from zoo_core.plans import Plan
from zoo_core.registry import Registry
from zoo_core.results import Prediction
from zoo_core.rundir import RunDir
from zoo_core.sources import Watch, unwatched
from zoo_core.store import Store

BATCH = 32  # images that go through the model together


@dataclass(frozen=True)
class Predictor:
    """A model with trained weights, its preprocessing and its classes."""

    model: nn.Module
    input: ImageInput
    classes: tuple[str, ...]
    origin: str  # what was used, to be told to the user

    @classmethod
    def from_card(
        cls, card: ModelCard, store: Store, *, weights: str = "trained", watch: Watch = unwatched
    ) -> Predictor:
        """Return the model with the weights published under its name.

        Raises:
            UsageError: there are none.
        """
        picked = card.pick_weights(weights)
        model = build_model(card)
        load_weights(model, card, picked, store, watch=watch)
        classes = picked[-1].classes or card.classes
        if classes is None:
            raise PluginError(
                f"weights {picked[-1].name!r} of {card.name} name no classes", fix=f"zoo check {card.name}"
            )
        return cls(model, card.input_for(picked), classes, f"{card.name} with weights {picked[-1].name}")

    @classmethod
    def from_run(cls, path: Path, registry: Registry, store: Store, *, watch: Watch = unwatched) -> Predictor:
        """Return the model as a run left it.

        What code to run and which files to fetch is taken from the installed card alone: a run directory may come from
        anyone, and names no code.

        Raises:
            DataError: it is no run directory, or one that was not finished.
            IntegrityError: its plan names other code or other weights than the installed card.
        """
        run = RunDir.open(path)
        plan = run.plan()
        content = run.read_weights()
        _agree(plan, registry, path)
        model = build_model(plan.model, num_classes=len(plan.classes), options=plan.recipe.model_options)
        tensors = load_weights(model, plan.model, plan.weights, store, fresh_head=plan.fresh_head, watch=watch)
        tensors |= load_tensors(content, str(run.weights))
        fit_tensors(model, tensors, str(run.weights))
        return cls(model, plan.input, plan.classes, f"run {path.resolve()}")

    def predict(self, images: Iterable[tuple[str, Image.Image]]) -> Iterator[Prediction]:
        """Yield a prediction for each (name, image), in order; images are taken a batch at a time."""
        batch: list[tuple[str, Image.Image]] = []
        for image in images:
            batch.append(image)
            if len(batch) == BATCH:
                yield from self._batch(batch)
                batch = []
        if batch:
            yield from self._batch(batch)

    def _batch(self, batch: list[tuple[str, Image.Image]]) -> Iterator[Prediction]:
        transform = preprocessing(self.input)
        with torch.inference_mode():
            rows = probabilities(self.model(torch.stack([transform(image) for _, image in batch]))).tolist()
        for (name, _), row in zip(batch, rows, strict=True):
            yield Prediction(name, tuple(sorted(zip(self.classes, row, strict=True), key=lambda pair: -pair[1])))


def _agree(plan: Plan, registry: Registry, path: Path) -> None:
    """Raise IntegrityError unless the plan's model is the installed one, reference by reference and file by file."""
    installed = registry.model(plan.model.name)
    card = installed.variant(plan.recipe.model_options)
    names = ("builder", "adapt", "head", "weights")
    other = [name for name in names if getattr(card, name) != getattr(plan.model, name)]
    foreign = [one.name for one in plan.weights if one not in card.weights]
    if other or foreign:
        raise IntegrityError(
            f"{path} was made by another {plan.model.name} than the one that is installed",
            why=f"they differ in: {', '.join([*other, *foreign])}",
            fix=f"zoo run {plan.recipe.name}, or install the version that environment.json names",
        )


def image_files(path: Path) -> list[Path]:
    """Return the image file that `path` is, or all image files below the folder that it is, sorted.

    Raises:
        DataError: there is none.
    """
    if path.is_dir():
        found = images_below(path)
        if not found:
            raise DataError(f"{path} holds no images", why=f"no file there ends in {', '.join(SUFFIXES)}")
        return found
    if not path.is_file():
        raise DataError(f"{path} does not exist", fix="give an image file, a folder, or - for standard input")
    return [path]
