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
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.losses import probabilities
from zoo_core.engine.compute.precision import FLOAT32, Precision
from zoo_core.engine.data.batches import inference_batch_size, prefetch_map
from zoo_core.engine.data.preprocessing import normalize_transform, resize_transform
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.inference import load_for_inference
from zoo_core.engine.models.weights import fit_tensors, load_tensors, load_weights, pin_weights
from zoo_core.errors import DataError, IntegrityError, PluginError, UsageError, printable
from zoo_core.events import OnEvent, ignore_event
from zoo_core.images.decode import read_image
from zoo_core.images.folder import SUFFIXES, images_below
from zoo_core.recipes import Plan
from zoo_core.registry.registry import Registry
from zoo_core.results import Prediction
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

ImageSource = tuple[str, Callable[[], Image.Image]]  # what to call an image, and how to read it


@dataclass(frozen=True)
class Predictor:
    """A model with trained weights, its preprocessing and its classes."""

    model: nn.Module
    input: ImageInput
    classes: tuple[str, ...]
    origin: str  # what was used, to be told to the user
    precision: Precision = FLOAT32

    @classmethod
    def from_card(
        cls, card: ModelCard, store: Store, *, weights: str = "trained", on_event: OnEvent = ignore_event
    ) -> Predictor:
        """Return the model with weights of its card: those published under its name, or others by theirs.

        Raises:
            UsageError: there are none, or they are those of a backbone alone.
        """
        picked = card.pick_weights(weights)
        if picked and picked[-1].covers == "backbone":
            raise UsageError(
                f"weights {picked[-1].name!r} of {card.name} have no head, and so no answer",
                fix=f"zoo run RECIPE --set model={card.name} --weights {picked[-1].name}, which trains one",
            )
        model = build_model(card)
        load_weights(model, card, picked, store, on_event=on_event)
        classes = card.classes_for(picked)
        if classes is None:
            raise PluginError(
                f"weights {picked[-1].name!r} of {card.name} name no classes", fix=f"zoo check {card.name}"
            )
        return cls(model, card.input_for(picked), classes, f"{card.name} with weights {picked[-1].name}")

    @classmethod
    def from_run(cls, path: Path, registry: Registry, store: Store, *, on_event: OnEvent = ignore_event) -> Predictor:
        """Return the model as a run left it.

        What code to run and which files to fetch is taken from the installed card alone: a run directory may come from
        anyone, and names no code.

        Raises:
            DataError: it is no run directory, or one that was not finished.
            IntegrityError: its plan names other code or other weights than the installed card.
        """
        run = RunDir.open(path)
        recorded = run.plan()
        content = run.read_weights()
        plan = _with_installed_code(recorded, registry, store, path)
        model = build_model(plan.model, num_classes=len(plan.classes), options=plan.recipe.model_options)
        tensors = load_weights(model, plan.model, plan.weights, store, fresh_head=plan.fresh_head, on_event=on_event)
        tensors |= load_tensors(content, str(run.weights))
        fit_tensors(model, tensors, str(run.weights))
        return cls(model, plan.input, plan.classes, f"run {path.resolve()}")

    def predict(self, images: Sequence[ImageSource], world: World = SINGLE_PROCESS) -> Iterator[Prediction | DataError]:
        """Yield, in order, a prediction for each image, or why it cannot be read.

        Images are read and decoded ahead in threads, and go through the model a batch at a time. Each rank takes every
        count-th; all of them yield all.
        """
        mine, size = images[world.rank :: world.count], inference_batch_size(self.input)
        batches = prefetch_map(self._read, mine, size)
        for _ in range(0, -(-len(images) // world.count), size):
            parts = world.all_gather(list(self._answer(next(batches, []))))
            for answers in zip_longest(*parts):
                yield from (answer for answer in answers if answer is not None)

    def _read(self, image: ImageSource) -> tuple[str, Tensor | DataError]:
        name, read = image
        try:
            return name, self._size(read())
        except DataError as error:  # a value, so that it keeps its place
            return name, error

    def _answer(self, batch: list[tuple[str, Tensor | DataError]]) -> Iterator[Prediction | DataError]:
        pixels = [one for _, one in batch if isinstance(one, Tensor)]
        if pixels:
            with torch.inference_mode():
                logits = self._network(normalize_transform(self.input)(torch.stack(pixels)))
            rows = iter(probabilities(logits).tolist())
        for name, one in batch:
            yield self._ranked(name, next(rows)) if isinstance(one, Tensor) else one

    def _ranked(self, name: str, row: Sequence[float]) -> Prediction:
        return Prediction(name, tuple(sorted(zip(self.classes, row, strict=True), key=lambda pair: -pair[1])))

    @cached_property
    def _size(self) -> v2.Compose:
        return resize_transform(self.input)

    @cached_property
    def _network(self) -> nn.Module:
        return load_for_inference(self.model, self.input, self.precision)


def _with_installed_code(plan: Plan, registry: Registry, store: Store, path: Path) -> Plan:
    """Return a run's plan with the installed cards in place of its own: what it names as code is never resolved.

    Raises:
        IntegrityError: the installed model differs in structure, or in one of the weights files.
    """
    installed = registry.model(plan.model.name).variant(plan.recipe.model_options)  # with imported weights
    card = registry.models[plan.model.name].variant(plan.recipe.model_options)
    differing = [name for name in ("fixed", "head", "parameters") if getattr(card, name) != getattr(plan.model, name)]
    wanted = {weights.name for weights in plan.weights}
    candidates = [weights for weights in installed.weights if weights.name in wanted]
    ours = {weights.identity: weights for weights in (pin_weights(card, candidates, store) if not differing else ())}
    differing += [weights.name for weights in plan.weights if weights.identity not in ours]
    if differing:
        raise IntegrityError(
            f"{path} was made by another {plan.model.name} than the one that is installed",
            why=f"they differ in: {', '.join(differing)}",
            fix=f"zoo run {plan.recipe.name}, or install the version that environment.json names",
        )
    return plan.model_copy(update={"model": card, "weights": tuple(ours[one.identity] for one in plan.weights)})


def image_source(path: Path) -> ImageSource:
    """Return an image file as `Predictor.predict` takes it."""
    return str(path), lambda: read_image(path)


def list_image_files(path: Path) -> list[Path]:
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
