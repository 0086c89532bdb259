"""Compares cards with counted and measured values: parameters, shapes, images, accuracies, plans."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.files import File, HubFile
from zoo_core.cards.models import ModelCard, ReportedAccuracy, WeightsCard, WeightsSelection
from zoo_core.data.dataset import load_split
from zoo_core.engine.checks.guards import tried
from zoo_core.engine.evaluation.evaluate import evaluate
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.summary import Layers, layers_of
from zoo_core.engine.models.weights import is_in_head, load_weights
from zoo_core.errors import UnknownName, ZooError
from zoo_core.events import drive, ignore_event
from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.reference import ModelReference, ParameterCounts
from zoo_core.registry.registry import Registry
from zoo_core.results import Check
from zoo_core.store.sources import is_remote
from zoo_core.store.store import Store


def check(registry: Registry, store: Store, name: str | None = None, *, full: bool = False) -> Iterator[Check]:
    """Check the model, dataset or recipe with this name; None: everything except the models of catalogues.

    Reported accuracies are measured again where weights and images are on this machine; with `full`, all are, and
    missing files are downloaded.

    Raises:
        UnknownName: no model, dataset or recipe has this name.
    """
    names = registry.names(("models", "datasets", "recipes"))
    if name is not None and name not in names:
        raise UnknownName("model, dataset or recipe", name, names)
    for known in sorted(names - registry.models.in_catalogues) if name is None else [name]:
        if known in registry.models:
            yield from check_model(registry.models[known], registry.references.get(known, ModelReference()))
            yield from check_probes(registry, registry.models[known], store, full=full)
        if known in registry.datasets:
            yield from check_dataset(registry.datasets[known], store)
        if known in registry.recipes and (name is not None or _is_complete(registry, registry.recipes[known])):
            yield check_recipe(registry, known)


def check_model(card: ModelCard, reference: ModelReference) -> Iterator[Check]:
    """Count a model's parameters on the meta device, and compare them with the card and with references."""
    layers = layers_of(card)
    yield Check(card.name, "parameters: declared = counted", card.parameters, layers.parameters)
    if card.trainable_parameters is not None:
        yield Check(card.name, "trainable: declared = counted", card.trainable_parameters, _count_head(card))
    shape = _output_shape(card)
    yield Check(card.name, "logits of two images", (2, _logits(card, shape)), shape)
    for kind, counts in reference.given:
        yield from _check_counts(card, layers, kind, counts)


def check_probes(registry: Registry, card: ModelCard, store: Store, *, full: bool = False) -> Iterator[Check]:
    """Measure the accuracies again that a card reports for its weights."""
    for weights in card.weights:
        for probe in weights.reported:
            what = f"{weights.name}: accuracy on {probe.dataset} ({probe.split})"
            if probe.dataset not in registry.datasets:
                yield Check(card.name, what, probe.accuracy, f"{probe.dataset} is not installed", tried=False)
                continue
            edition = registry.dataset(probe.dataset).edition(probe.edition)
            files = [*(part.file for part in card.select(weights.name).cards), *edition.files.values()]
            if full or all(available_offline(file, store) for file in files):
                yield from _check_probe(registry, card, weights, probe, store)


def _check_probe(
    registry: Registry, card: ModelCard, weights: WeightsCard, probe: ReportedAccuracy, store: Store
) -> Iterator[Check]:
    dataset = registry.dataset(probe.dataset)
    edition = dataset.edition(probe.edition)
    images = load_split(dataset, edition, probe.split, store)
    predictor = Predictor.from_card(card, store, weights=weights.name)
    measured = drive(evaluate(predictor.model, images, predictor.input, torch.device("cpu")), ignore_event)
    what = f"{weights.name}: accuracy on {probe.dataset}.{edition.name} ({probe.split})"
    yield Check(card.name, what, probe.accuracy, measured.accuracy, kind="fraction")
    yield Check(card.name, f"{what}: images", probe.n, measured.images)


def check_weights(card: ModelCard, store: Store) -> Iterator[Check]:
    """Load all weights whose files are on this machine: sizes, hashes, names, shapes and so the number of classes."""
    for weights in card.weights:
        selection = card.select(weights.name)
        if all(available_offline(part.file, store) for part in selection.cards):
            yield tried(card.name, f"weights {weights.name}", "they fit", partial(_fit_weights, selection, store))


def _fit_weights(selection: WeightsSelection, store: Store) -> str:
    load_weights(build_model(selection.model, options=selection.options), selection, store)
    return "they fit"


def check_dataset(card: DatasetCard, store: Store) -> Iterator[Check]:
    """Count the images of every edition on this machine; others are not checked."""
    for edition in card.editions:
        if not all(available_offline(file, store) for file in edition.files.values()):
            continue
        for split, count in edition.examples.items():
            try:
                counted: object = len(load_split(card, edition, split, store))
            except ZooError as error:
                counted = error.what
            yield Check(f"{card.name}.{edition.name}", f"{split} images", count, counted)


def available_offline(file: File | HubFile, store: Store) -> bool:
    """Return whether a file is on this machine."""
    return store.has(file) or (isinstance(file, File) and not is_remote(file.sources[0]))


def _check_counts(card: ModelCard, layers: Layers, kind: str, counts: ParameterCounts) -> Iterator[Check]:
    if counts.parameters is not None:
        yield Check(card.name, f"parameters: {kind} = declared", counts.parameters, card.parameters)
    if counts.trainable_parameters is not None:
        yield Check(card.name, f"trainable: {kind} = declared", counts.trainable_parameters, card.trainable_parameters)
    for path, expected in counts.layers.items():
        counted = {layer.path: layer.parameters for layer in layers.layers}.get(path)
        yield Check(card.name, f"{path}: {kind} = counted", expected, counted)
    for path, shapes in counts.shapes.items():
        yield Check(card.name, f"{path}: output shape", shapes, layers.shapes.get(path))
    for what, size in counts.megabytes.items():
        yield Check(card.name, f"MB of {what.replace('_', ' and ')}", size, round(layers.megabytes[what], 2))


def _is_complete(registry: Registry, recipe: Recipe) -> bool:
    """Return whether the model and the dataset of a recipe are installed; otherwise there is nothing to check."""
    return recipe.model in registry.models and recipe.dataset in registry.datasets


def check_recipe(registry: Registry, name: str) -> Check:
    """Check that a recipe can be planned."""
    try:
        registry.plan(name)
        return Check(name, "plan", "complete", "complete")
    except ZooError as error:
        return Check(name, "plan", "complete", error.what)


def _count_head(card: ModelCard) -> int:
    with torch.device("meta"):
        model = build_model(card)
    return sum(p.numel() for name, p in model.named_parameters() if is_in_head(name, card))


def _logits(card: ModelCard, shape: tuple[int, ...]) -> int:
    """Return the expected number of logits: with two classes, one or two, whichever the model has."""
    return 1 if card.num_classes == 2 and shape[-1:] == (1,) else card.num_classes


def _output_shape(card: ModelCard) -> tuple[int, ...]:
    with torch.device("meta"), torch.inference_mode():
        images = torch.zeros(2, card.input.channels, card.input.size, card.input.size)
        return tuple(build_model(card)(images).shape)
