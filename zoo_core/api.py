"""The Python interface by name: each function loads the registry of what is installed, unless it is given one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os.path import isdir
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.transforms import v2 as T

from zoo_core.cards import Split
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, distributed_session
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.data.batches import load_split
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.engine.evaluation.evaluate import evaluate
from zoo_core.engine.evaluation.predictor import Predictor, image_source, list_image_files
from zoo_core.engine.evaluation.target import open_eval_data, require_same_classes
from zoo_core.engine.explain.activations import explain
from zoo_core.engine.explain.render import write_page
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.summary import layers_in
from zoo_core.engine.models.weights import load_weights
from zoo_core.engine.training.run import execute
from zoo_core.errors import DataError, UnknownName, UsageError, printable
from zoo_core.events import OnEvent, drive, ignore_event
from zoo_core.images.audit import stop_if_unreadable
from zoo_core.images.decode import read_image
from zoo_core.images.image_sets import FolderImages, ImageSet
from zoo_core.recipes import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.results import Evaluation, Prediction, RunResult
from zoo_core.store.store import Store


def create_model(
    name: str,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> nn.Module:
    """Build a model by name, in evaluation mode; it maps (N, C, H, W) float32 to logits (N, K).

    Args:
        name: as `list_models` gives it.
        weights: None (random), "pretrained" (a backbone below a fresh head), "trained" (all), or a name on the card.
        num_classes: None takes the card's; with trained weights there can be no other.
        options: the builder's own.
        registry: None loads what is installed.
        store: None is the user's.

    Raises:
        UnknownName: there is no such model.
        UsageError: it has no such weights, or they are for other classes.
        NetworkError: the weights could not be had.
    """
    card = (registry or load_registry()).model(name).variant(options or {})
    picked = card.pick_weights(weights)
    whole = bool(picked) and weights != "pretrained" and picked[-1].covers != "backbone"
    if whole and num_classes not in (None, card.num_classes):
        raise UsageError(
            f"weights {picked[-1].name!r} of {name} are for {card.num_classes} classes, not {num_classes}",
            why="a trained head of other classes is never loaded",
            fix='weights="pretrained" keeps the backbone below a fresh head',
        )
    model = build_model(card, num_classes=num_classes, options=options)
    load_weights(model, card, picked, store or Store.default(), fresh_head=weights == "pretrained")
    return model


def transforms(
    name: str,
    *,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> T.Compose:
    """Return a model's preprocessing: from a PIL image to (C, size, size) float32, normalised.

    Args:
        name: as `list_models` gives it.
        weights: preprocessing belongs to the weights; None takes the model's.
        options: the builder's own, which may change it.
        registry: None loads what is installed.
    """
    card = (registry or load_registry()).model(name).variant(options or {})
    return preprocessing(card.input_for(card.pick_weights(weights)))


def load_dataset(
    name: str,
    split: Split = "train",
    *,
    edition: str | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> ImageSet:
    """Open one split of a dataset: a sequence of (PIL image, label), with `classes`; fetched first, if need be."""
    registry = registry or load_registry()
    return load_split(registry.dataset(name), registry.dataset(name).edition(edition), split, store or Store.default())


def run(
    recipe: str,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: Path | str | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    registry: Registry | None = None,
    store: Store | None = None,
) -> RunResult:
    """Train a model from a recipe, and return the run's directory and metrics.

    Unless the recipe's precision is "float32", training uses a fast path that changes this process while it runs: the
    allocator retains freed memory (glibc's mallopt), and ReLU and MaxPool2d swap places in the model; both are undone
    afterwards. Only one run at a time is possible in a process, because PyTorch has one random generator.

    Args:
        recipe: its name.
        epochs: and the other common fields: None leaves what the recipe says.
        batch_size: images a step.
        lr: the optimizer's learning rate.
        seed: of everything random.
        overrides: any other field by its dotted key, {"optimizer.weight_decay": 1e-4}.
        data: a folder of your own images in place of the recipe's dataset; see `zoo_core.images.folder`.
        device: "auto", "cpu", "cuda", "cuda:1".
        out: the folder of runs.
        registry: None loads what is installed.
        store: None is the user's.
    """
    common = {"epochs": epochs, "batch_size": batch_size, "optimizer.lr": lr, "seed": seed}
    given = {key: value for key, value in common.items() if value is not None} | dict(overrides or {})
    folder = None if data is None else Path(data)
    plan = (registry or load_registry()).plan(recipe, given, device=device, data=folder)
    with distributed_session() as world:
        return execute(plan, store=store or Store.default(), out=Path(out), world=world)


def predict(
    target: str | Path,
    images: Iterable[Path | str] | Path | str,
    *,
    precision: PrecisionName = "auto",
    registry: Registry | None = None,
    store: Store | None = None,
) -> list[Prediction]:
    """Say what is on images.

    Args:
        target: a model's name (its published weights), or the path of a run directory.
        images: an image file, a folder, or several of them.
        precision: "auto" computes in 16 bits where the processor has them; "float32" is the plain path.
        registry: None loads what is installed.
        store: None is the user's.

    Raises:
        DataError: an image cannot be read.
    """
    predictor = predictor_for(target, registry or load_registry(), store or Store.default(), precision=precision)
    paths = [images] if isinstance(images, (str, Path)) else images
    files = [file for path in paths for file in list_image_files(Path(path))]
    return [_read(one) for one in predictor.predict([image_source(file) for file in files])]


def _read(prediction: Prediction | DataError) -> Prediction:
    if isinstance(prediction, DataError):
        raise prediction
    return prediction


@dataclass(frozen=True)
class NamedEvaluation:
    """An evaluation, and what it is of."""

    origin: str  # the model and its weights
    images: str
    evaluation: Evaluation


def evaluate_on(
    registry: Registry,
    store: Store,
    target: str,
    *,
    data: Path | None = None,
    dataset: str | None = None,
    split: Split | None = None,
    precision: PrecisionName = "auto",
    on_event: OnEvent = ignore_event,
    world: World = SINGLE_PROCESS,
) -> NamedEvaluation:
    """Evaluate a model's published weights, or a run, on labelled images; see `labelled_images` for which.

    Raises:
        DataError: the images' classes are not the model's, or images are damaged.
    """
    predictor = predictor_for(target, registry, store, on_event=on_event, precision=precision)
    name, images = open_eval_data(registry, store, target, data=data, dataset=dataset, split=split)
    require_same_classes(predictor, images)
    cpu = torch.device("cpu")
    steps = evaluate(predictor.model, images, predictor.input, cpu, precision=predictor.precision, world=world)
    try:
        return NamedEvaluation(predictor.origin, name, drive(steps, on_event))
    except DataError:
        if isinstance(images, FolderImages):
            stop_if_unreadable(images)  # lists them all
        raise


def explain_image(
    target: str | Path,
    image: Path,
    out: Path,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    on_event: OnEvent = ignore_event,
) -> Path:
    """Write a page (.html) or picture (.png) of what a model makes of one image, and return its path."""
    predictor = predictor_for(target, registry or load_registry(), store or Store.default(), on_event=on_event)
    explanation = explain(predictor, read_image(image), printable(str(image)))
    return write_page(explanation, layers_in(predictor.model, predictor.input), predictor.origin, out)


def predictor_for(
    target: str | Path,
    registry: Registry,
    store: Store,
    *,
    weights: str = "trained",
    precision: PrecisionName = "auto",
    on_event: OnEvent = ignore_event,
) -> Predictor:
    """Return the predictor for a model's name or a run directory; a name that is a model's is never a path.

    `weights` is for a model: those published under its name, or others of its card by their name.
    """
    if target in registry.models:
        found = Predictor.from_card(registry.model(str(target)), store, weights=weights, on_event=on_event)
    elif isdir(target):  # noqa: PTH112 - a Path of a name that is too long raises
        found = Predictor.from_run(Path(target), registry, store, on_event=on_event)
    else:
        raise UnknownName("model or run", str(target), registry.models, fix="zoo list, or ls runs/*")
    return replace(found, precision=Precision.pick(precision, torch.device("cpu")))
