"""Says what is on images, with weights that are published under a name or that a run has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from zoo_core.cards import ImageInput, ModelCard
from zoo_core.engine.arithmetic import PLAIN, Arithmetic
from zoo_core.engine.build import build_model, fit_tensors, load_tensors, load_weights, pinned
from zoo_core.engine.data import ahead, at_once, scaling, sizing
from zoo_core.engine.images import read_image
from zoo_core.engine.inference import inferring
from zoo_core.engine.objective import probabilities
from zoo_core.engine.ranks import ALONE, Ranks
from zoo_core.errors import DataError, IntegrityError, PluginError, UsageError, printable
from zoo_core.folders import SUFFIXES, images_below
from zoo_core.plans import Plan
from zoo_core.registry import Registry
from zoo_core.results import Prediction
from zoo_core.rundir import RunDir
from zoo_core.sources import Watch, unwatched
from zoo_core.store import Store

ToRead = tuple[str, Callable[[], Image.Image]]  # what to call an image, and how to read it


@dataclass(frozen=True)
class Predictor:
    """A model with trained weights, its preprocessing and its classes."""

    model: nn.Module
    input: ImageInput
    classes: tuple[str, ...]
    origin: str  # what was used, to be told to the user
    arithmetic: Arithmetic = PLAIN

    @classmethod
    def from_card(
        cls, card: ModelCard, store: Store, *, weights: str = "trained", watch: Watch = unwatched
    ) -> Predictor:
        """Return the model with weights of its card: those published under its name, or others by theirs.

        Raises:
            UsageError: there are none, or they are those of a trunk alone.
        """
        picked = card.pick_weights(weights)
        if picked and picked[-1].covers == "trunk":
            raise UsageError(
                f"weights {picked[-1].name!r} of {card.name} have no head, and so no answer",
                fix=f"zoo run RECIPE --set model={card.name} --weights {picked[-1].name}, which trains one",
            )
        model = build_model(card)
        load_weights(model, card, picked, store, watch=watch)
        classes = card.classes_for(picked)
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
        _agree(plan, registry, store, path)
        model = build_model(plan.model, num_classes=len(plan.classes), options=plan.recipe.model_options)
        tensors = load_weights(model, plan.model, plan.weights, store, fresh_head=plan.fresh_head, watch=watch)
        tensors |= load_tensors(content, str(run.weights))
        fit_tensors(model, tensors, str(run.weights))
        return cls(model, plan.input, plan.classes, f"run {path.resolve()}")

    def predict(self, images: Sequence[ToRead], ranks: Ranks = ALONE) -> Iterator[Prediction | DataError]:
        """Yield, in order, a prediction for each image, or why it cannot be read.

        Images are read and decoded ahead in threads, and go through the model a batch at a time. Each rank takes every
        count-th; all of them yield all.
        """
        mine, size = images[ranks.rank :: ranks.count], at_once(self.input)
        batches = ahead(self._read, mine, size)
        for _ in range(0, -(-len(images) // ranks.count), size):
            parts = ranks.collected(list(self._answer(next(batches, []))))
            for answers in zip_longest(*parts):
                yield from (answer for answer in answers if answer is not None)

    def _read(self, image: ToRead) -> tuple[str, Tensor | DataError]:
        name, read = image
        try:
            return name, self._size(read())
        except DataError as error:  # a value, so that it keeps its place
            return name, error

    def _answer(self, batch: list[tuple[str, Tensor | DataError]]) -> Iterator[Prediction | DataError]:
        pixels = [one for _, one in batch if isinstance(one, Tensor)]
        if pixels:
            with torch.inference_mode():
                logits = self._network(scaling(self.input)(torch.stack(pixels)))
            rows = iter(probabilities(logits).tolist())
        for name, one in batch:
            yield self._ranked(name, next(rows)) if isinstance(one, Tensor) else one

    def _ranked(self, name: str, row: Sequence[float]) -> Prediction:
        return Prediction(name, tuple(sorted(zip(self.classes, row, strict=True), key=lambda pair: -pair[1])))

    @cached_property
    def _size(self) -> v2.Compose:
        return sizing(self.input)

    @cached_property
    def _network(self) -> nn.Module:
        return inferring(self.model, self.input, self.arithmetic)


def _agree(plan: Plan, registry: Registry, store: Store, path: Path) -> None:
    """Raise IntegrityError unless the plan's model is the installed one, reference by reference and file by file."""
    installed = registry.model(plan.model.name)  # with imported weights, of which a plan's card knows nothing
    card = registry.models[plan.model.name].variant(plan.recipe.model_options)
    names = ("builder", "fixed", "adapt", "head", "weights")
    other = [name for name in names if getattr(card, name) != getattr(plan.model, name)]
    weights = installed.variant(plan.recipe.model_options).weights
    ours = [one for one in weights if one.name in {theirs.name for theirs in plan.weights}]
    known = pinned(card, ours, store) if not other else ()
    foreign = [one.name for one in plan.weights if one not in known]
    if other or foreign:
        raise IntegrityError(
            f"{path} was made by another {plan.model.name} than the one that is installed",
            why=f"they differ in: {', '.join([*other, *foreign])}",
            fix=f"zoo run {plan.recipe.name}, or install the version that environment.json names",
        )


def to_read(path: Path) -> ToRead:
    """Return an image file as `Predictor.predict` takes it."""
    return str(path), lambda: read_image(path)


def image_files(path: Path) -> list[Path]:
    """Return the image file that `path` is, or all image files below the folder that it is, sorted.

    Raises:
        DataError: there is none.
    """
    name, fix = printable(str(path)), "give an image file, a folder, or - for standard input"
    try:
        if not path.is_dir() and not path.exists():
            raise DataError(f"{name} does not exist", fix=fix)
        found = images_below(path) if path.is_dir() else [path]
    except OSError as error:
        raise DataError(f"{name} cannot be looked at", why=error.strerror or "the system says no", fix=fix) from error
    if not found:
        raise DataError(f"{name} holds no images", why=f"no file there ends in {', '.join(SUFFIXES)}")
    return found
