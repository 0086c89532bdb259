"""Models, their weights, and the preprocessing that belongs to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.cards.fields import Head
from zoo_core.cards.models import ModelCard, WeightsSelection
from zoo_core.errors import UsageError, printable
from zoo_core.events import OnEvent
from zoo_core.progress import handled_events
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

if TYPE_CHECKING:
    from torch import nn
    from torchvision.transforms import v2

    from zoo_core.engine.evaluation.predictor import Predictor

logger = logging.getLogger("zoo_core")


def load(
    target: str | Path,
    *,
    weights: str = "pretrained",
    device: str = "cpu",
    precision: PrecisionName = "auto",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> Predictor:
    """Load a trained model with everything needed to use it: `.model`, `.transform`, `.classes` and `.card`.

    Args:
        target: a model's name, or the path of a run.
        weights: for a model: "pretrained", or a name on its card.
        device: "cpu", "cuda", "cuda:1", or "auto": a GPU if there is one. `.model` is moved there.
        precision: what `predict` computes in: "auto" uses bfloat16 where the device supports it natively.
        on_event: called with each event, such as the progress of a download.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such model or run.
        UsageError: the model has no such weights, or only a backbone's; or it is an exported file.
        DataError: the run did not finish.
        NetworkError: the weights are not cached and could not be downloaded.
    """
    from zoo_core.engine.compute.devices import pick_device
    from zoo_core.engine.compute.distributed import device_of
    from zoo_core.engine.compute.precision import Precision
    from zoo_core.engine.evaluation.predictor import Predictor
    from zoo_core.exported.files import is_exported  # Pillow is imported here, not before

    if is_exported(target):
        raise UsageError(
            f"{printable(str(target))} is an exported file, which PyTorch does not read",
            why="zoo predict, eval and bench use it; the run that it was exported from has the network",
        )
    chosen = pick_device(device_of(device))
    with handled_events(on_event, progress) as handle:
        predictor = Predictor.load(
            target, registry or load_registry(), store or Store.default(), weights=weights, on_event=handle
        )
    predictor.model.to(chosen)
    return replace(predictor, precision=Precision.pick(precision, chosen))


def create_model(
    name: str | Path,
    *,
    weights: str | None = None,
    head: Head | None = None,
    num_classes: int | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> nn.Module:
    """Build a model in evaluation mode. It maps (N, C, H, W) float32 to logits (N, K), or to features without a head.

    Args:
        name: as `list_models` returns it, or the path of a run, whose weights are then loaded.
        weights: None (random), "pretrained" (the publisher's, with their head if they have one), or a name on the card.
        head: "keep" the trained head, or "fresh": a randomly initialized one. None keeps it where `num_classes` allows.
        num_classes: None takes the card's; 0 removes the head.
        options: passed to the model's builder.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such model.
        UsageError: the model has no such weights, `num_classes` is negative, or a head cannot be kept or removed.
        NetworkError: the weights are not cached and could not be downloaded.
    """
    from zoo_core.engine.models.build import build_model, remove_head
    from zoo_core.engine.models.weights import load_weights

    if num_classes is not None and num_classes < 0:
        raise UsageError(f"num_classes is {num_classes}", why="it must be positive, or 0 to remove the head")
    registry, store = registry or load_registry(), store or Store.default()
    if str(name) not in registry.models and isdir(name):  # noqa: PTH112 - a Path of a name that is too long raises
        return _model_of_run(Path(name), head, num_classes, registry, store)
    card = registry.model(str(name)).variant(options or {})
    selection = _select(card, weights, head, num_classes)
    model = build_model(
        card, num_classes=num_classes or selection.num_classes, options={**selection.options, **(options or {})}
    )
    load_weights(model, selection, store)
    return remove_head(model, card) if num_classes == 0 else model


def transforms(
    name: str | Path,
    *,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> v2.Compose:
    """Return a model's preprocessing: from a PIL image to (C, size, size) float32, normalized.

    Args:
        name: as `list_models` returns it, or the path of a run.
        weights: preprocessing belongs to weights: "pretrained" or a name on the card; None takes the model's.
        options: passed to the model's builder; they may change the preprocessing.
        registry: None loads the installed plugins.
    """
    from zoo_core.engine.data.preprocessing import preprocessing

    registry = registry or load_registry()
    if str(name) not in registry.models and isdir(name):  # noqa: PTH112 - a Path of a name that is too long raises
        return preprocessing(RunDir.open(Path(name)).plan().input)
    card = registry.model(str(name)).variant(options or {})
    return preprocessing(card.select(weights).input)


def _select(card: ModelCard, weights: str | None, head: Head | None, num_classes: int | None) -> WeightsSelection:
    """Choose the weights, and log it if their head is not loaded although no fresh one was requested."""
    selection = card.select(weights, head or "keep")
    if head == "fresh" or num_classes == 0 or not selection.cards:
        return selection
    known = selection.num_classes
    if selection.has_head and num_classes in (None, known):
        return selection
    if head == "keep" and selection.has_head:
        raise UsageError(
            f"the head of weights {selection.name!r} of {card.name} has {known} classes, not {num_classes}",
            why='head="fresh" puts a new one on the backbone',
        )
    why = f"the weights have {known} classes" if selection.has_head else "these weights have none"
    logger.warning("%s with weights %s: the head is randomly initialized (%s)", card.name, selection.name, why)
    return card.select(weights, "fresh")


def _model_of_run(
    path: Path, head: Head | None, num_classes: int | None, registry: Registry, store: Store
) -> nn.Module:
    from zoo_core.engine.evaluation.predictor import Predictor
    from zoo_core.engine.models.build import build_model, remove_head
    from zoo_core.engine.models.weights import fit_tensors, is_in_head

    trained = Predictor.from_run(path, registry, store)
    card: ModelCard = trained.card
    if num_classes == 0:
        return remove_head(trained.model, card)
    if head != "fresh" and num_classes in (None, len(trained.classes)):
        return trained.model
    if head == "keep":
        raise UsageError(f"the head of {path} has {len(trained.classes)} classes, not {num_classes}")
    if head is None:
        logger.warning("%s: the head is randomly initialized (the run has %s classes)", path, len(trained.classes))
    options = RunDir.open(path).plan().model_options
    model = build_model(card, num_classes=num_classes or len(trained.classes), options=options)
    tensors = {name: tensor for name, tensor in trained.model.state_dict().items() if not is_in_head(name, card)}
    fit_tensors(model, tensors, str(path), optional=card.head)
    return model
