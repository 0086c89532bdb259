"""Classifies images with published weights, or with the weights that a run trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from os.path import isdir
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from zoo_core.cards.models import ImageInput, ModelCard
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.losses import probabilities
from zoo_core.engine.compute.precision import FLOAT32, Precision
from zoo_core.engine.data.preprocessing import normalize_transform, preprocessing, resize_transform
from zoo_core.engine.models.build import build_model, build_planned
from zoo_core.engine.models.inference import FOLD_FROM, optimize_for_inference
from zoo_core.engine.models.weights import fit_tensors, load_tensors, load_weights, pin_weights
from zoo_core.errors import DataError, IntegrityError, PluginError, UnknownName, UsageError
from zoo_core.events import OnEvent, ignore_event
from zoo_core.images.batching import inference_batch_size, prefetch_map
from zoo_core.images.sources import ImageSource
from zoo_core.predictions import Prediction
from zoo_core.recipes.plan import Plan
from zoo_core.registry.registry import Registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store


@dataclass(frozen=True)
class Predictor:
    """A trained model with its preprocessing and its classes.

    `model` is a plain `nn.Module` in evaluation mode: (N, C, H, W) float32 to logits (N, K). `transform` turns a PIL
    image into its (C, H, W) input; `classes` names the K outputs.
    """

    model: nn.Module
    input: ImageInput
    classes: tuple[str, ...]
    origin: str  # a description of the weights
    card: ModelCard
    precision: Precision = FLOAT32
    thresholds: tuple[float, ...] | None = None  # of each class; None: single-label

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:5]) + (", …" if len(self.classes) > 5 else "")
        return (
            f"<Predictor {self.origin}: {len(self.classes)} classes ({names}), {self.input.size} × {self.input.size}>"
        )

    @classmethod
    def load(
        cls,
        target: str | Path,
        registry: Registry,
        store: Store,
        *,
        weights: str = "pretrained",
        on_event: OnEvent = ignore_event,
    ) -> Predictor:
        """Return the model with this name and the weights named, or the model that a run directory contains.

        Raises:
            UnknownName: it is neither. A model's name is never interpreted as a path.
        """
        if str(target) in registry.models:
            return cls.from_card(registry.model(str(target)), store, weights=weights, on_event=on_event)
        if isdir(target):  # noqa: PTH112 - a Path of a name that is too long raises
            return cls.from_run(Path(target), registry, store, on_event=on_event)
        raise UnknownName("model or run", str(target), registry.models, fix="zoo list")

    @classmethod
    def from_card(
        cls, card: ModelCard, store: Store, *, weights: str = "pretrained", on_event: OnEvent = ignore_event
    ) -> Predictor:
        """Return the model with weights of its card.

        Raises:
            UsageError: there are none, or only those of a backbone.
            PluginError: nothing names the classes.
        """
        selection = card.select(weights)
        if not selection.cards:
            raise UsageError(f"{card.name} cannot classify images with random weights", fix=f"zoo show {card.name}")
        if not selection.has_head:
            raise UsageError(
                f"weights {selection.name!r} of {card.name} have no head, so they cannot classify images",
                why="a run trains a head",
                fix=f"zoo run RECIPE --set model={card.name} --weights {selection.name}",
            )
        if selection.classes is None:
            raise PluginError(
                f"weights {selection.name!r} of {card.name} name no classes", fix=f"zoo check {card.name}"
            )
        model = build_model(card, num_classes=selection.num_classes, options=selection.options)
        load_weights(model, selection, store, on_event=on_event)
        origin = f"{card.name} with weights {selection.name}"
        return cls(model, selection.input, selection.classes, origin, card, thresholds=selection.thresholds)

    @classmethod
    def from_run(cls, path: Path, registry: Registry, store: Store, *, on_event: OnEvent = ignore_event) -> Predictor:
        """Return the model as a run trained it.

        Which code to run and which files to download comes from the installed card only: a run directory may come
        from anyone, and names no code.

        Raises:
            DataError: it is not a run directory, or the run did not finish.
            IntegrityError: its plan names another model or other weights than the installed card.
        """
        run = RunDir.open(path)
        recorded = run.plan()
        content = run.read_weights()
        plan = _with_installed_code(recorded, registry, store, path)
        model = build_planned(plan)
        tensors = load_weights(model, plan.selection, store, on_event=on_event)
        tensors |= load_tensors(content, str(run.weights))
        fit_tensors(model, tensors, str(run.weights))
        return cls(model, plan.input, plan.classes, f"run {path.resolve()}", plan.model, thresholds=run.thresholds())

    @property
    def transform(self) -> v2.Compose:
        """The preprocessing: from a PIL image to the (C, size, size) float32 tensor that the model takes."""
        return preprocessing(self.input)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def predict_each(
        self, images: Sequence[ImageSource], world: World = SINGLE_PROCESS
    ) -> Iterator[Prediction | DataError]:
        """Yield, in order, a prediction for each image, or the error that explains why it cannot be read.

        Images are decoded ahead in threads, and go through the model in batches. Each rank takes every `world.count`-th
        image; all ranks yield all predictions.

        Raises:
            IntegrityError: the model's outputs are not finite.
        """
        network = self._folded if len(images) >= FOLD_FROM or "_folded" in self.__dict__ else self._network
        mine, size = images[world.rank :: world.count], inference_batch_size(self.input)
        batches = prefetch_map(self._read, mine, size)
        for _ in range(0, -(-len(images) // world.count), size):
            parts = world.all_gather(list(self._classify(next(batches, []), network)))
            for answers in zip_longest(*parts):
                yield from (answer for answer in answers if answer is not None)

    def _read(self, image: ImageSource) -> tuple[str, Tensor | DataError]:
        name, read = image
        try:
            return name, self._resize(read())
        except DataError as error:  # returned, so that it appears in its image's position
            return name, error

    def _classify(
        self, batch: list[tuple[str, Tensor | DataError]], network: nn.Module
    ) -> Iterator[Prediction | DataError]:
        pixels = [read for _, read in batch if isinstance(read, Tensor)]
        if pixels:
            inputs = self._normalize(torch.stack(pixels).to(self.device))
            with torch.inference_mode():
                logits = network(inputs)
                rows = iter(probabilities(logits, multi_label=self.thresholds is not None).tolist())
        for name, read in batch:
            yield self._ranked(name, next(rows)) if isinstance(read, Tensor) else read

    def _ranked(self, name: str, row: Sequence[float]) -> Prediction:
        if not all(map(math.isfinite, row)):
            raise IntegrityError(
                f"{self.origin} gives probabilities that are not finite",
                why="its weights contain NaN or infinity, or the precision overflows",
                fix=f"zoo predict {self.card.name} IMAGE --precision float32",
            )
        return Prediction.of(name, self.classes, row, self.thresholds)

    @cached_property
    def _resize(self) -> v2.Compose:
        return resize_transform(self.input)

    @cached_property
    def _normalize(self) -> v2.Compose:
        return normalize_transform(self.input)

    @cached_property
    def _network(self) -> nn.Module:
        return optimize_for_inference(self.model, self.input, self.precision, images=1)

    @cached_property
    def _folded(self) -> nn.Module:
        return optimize_for_inference(self.model, self.input, self.precision)


def _with_installed_code(plan: Plan, registry: Registry, store: Store, path: Path) -> Plan:
    """Return a run's plan with its cards replaced by the installed ones: code that the plan names is never imported.

    Raises:
        IntegrityError: the installed model differs in structure, or in one of the weights files.
    """
    installed = registry.model(plan.model.name).variant(plan.recipe.model_options)  # with imported weights
    card = registry.models[plan.model.name].variant(plan.recipe.model_options)
    differing = [name for name in ("fixed", "head", "parameters") if getattr(card, name) != getattr(plan.model, name)]
    names = {weights.name for weights in plan.weights}
    candidates = [weights for weights in installed.weights if weights.name in names]
    ours = {weights.identity: weights for weights in (pin_weights(card, candidates, store) if not differing else ())}
    differing += [weights.name for weights in plan.weights if weights.identity not in ours]
    if differing:
        raise IntegrityError(
            f"{path} was trained with a different {plan.model.name} from the installed one",
            why=f"they differ in: {', '.join(differing)}; environment.json lists the versions it was trained with",
            fix=f"zoo run {plan.recipe.name}",
        )
    return plan.model_copy(update={"model": card, "weights": tuple(ours[w.identity] for w in plan.weights)})
