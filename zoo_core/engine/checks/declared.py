"""Holds what is declared against what is so: counts three ways, shapes, sizes, datasets and plans."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from zoo_core.cards import DatasetCard, File, HubFile, ModelCard
from zoo_core.engine.data.batches import load_split
from zoo_core.engine.evaluation.evaluate import evaluate
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.summary import Layers, layers_of
from zoo_core.engine.models.weights import is_in_head
from zoo_core.errors import UnknownName, ZooError
from zoo_core.events import drive, ignore_event
from zoo_core.recipes import ModelReference, ParameterCounts, Recipe
from zoo_core.registry.registry import Registry
from zoo_core.results import Check
from zoo_core.store.sources import is_remote
from zoo_core.store.store import Store


def check(registry: Registry, store: Store, name: str | None = None, *, full: bool = False) -> Iterator[Check]:
    """Check what has this name, or everything there is but the models of catalogues.

    Accuracies are measured again on images that are shipped, where the weights are at hand; with `full`, on all that
    a card declares, and what is missing is fetched.

    Raises:
        UnknownName: nothing has this name.
    """
    names = registry.names(("models", "datasets", "recipes"))
    if name is not None and name not in names:
        raise UnknownName("model, dataset or recipe", name, names)
    for one in sorted(names - registry.models.in_catalogues) if name is None else [name]:
        if one in registry.models:
            yield from check_model(registry.models[one], registry.references.get(one, ModelReference()))
            yield from check_probes(registry, registry.models[one], store, full=full)
        if one in registry.datasets:
            yield from check_dataset(registry.datasets[one], store)
        if one in registry.recipes and (name is not None or _is_complete(registry, registry.recipes[one])):
            yield check_recipe(registry, one)


def check_model(card: ModelCard, figures: ModelReference) -> Iterator[Check]:
    """Count a model's parameters on the meta device, and compare: given == declared == counted."""
    layers = layers_of(card)
    yield Check(card.name, "parameters: declared = counted", card.parameters, layers.parameters)
    if card.trainable_parameters is not None:
        yield Check(card.name, "trainable: declared = counted", card.trainable_parameters, _count_head(card))
    shape = _output_shape(card)
    yield Check(card.name, "logits of two images", (2, _logits(card, shape)), shape)
    for kind, counts in figures.given:
        yield from _check_counts(card, layers, kind, counts)


def check_probes(registry: Registry, card: ModelCard, store: Store, *, full: bool = False) -> Iterator[Check]:
    """Measure the accuracies again that a card declares for its weights."""
    for weights in card.weights:
        chain = card.select(weights.name).cards
        for probe in weights.reported:
            edition = registry.dataset(probe.dataset).edition(probe.edition)
            files = [*(one.file for one in chain), *edition.files.values()]
            if full or all(available_offline(file, store) for file in files):
                images = load_split(registry.dataset(probe.dataset), edition, probe.split, store)
                predictor = Predictor.from_card(card, store, weights=weights.name)
                steps = evaluate(predictor.model, images, predictor.input, torch.device("cpu"))
                measured = drive(steps, ignore_event)
                what = f"{weights.name}: accuracy on {probe.dataset}.{edition.name} ({probe.split})"
                yield Check(card.name, what, probe.accuracy, measured.accuracy, kind="fraction")
                yield Check(card.name, f"{what}: images", probe.n, measured.images)


def check_dataset(card: DatasetCard, store: Store) -> Iterator[Check]:
    """Count the images of every edition that is at hand: one that would have to be downloaded is not checked."""
    for edition in card.editions:
        if not all(available_offline(file, store) for file in edition.files.values()):
            continue
        for split, count in edition.examples.items():
            try:
                found: object = len(load_split(card, edition, split, store))
            except ZooError as error:
                found = error.what
            yield Check(f"{card.name}.{edition.name}", f"{split} images", count, found)


def available_offline(file: File | HubFile, store: Store) -> bool:
    """Tell whether a file is here, or can be had without the network."""
    return store.has(file) or (isinstance(file, File) and not is_remote(file.sources[0]))


def _check_counts(card: ModelCard, layers: Layers, kind: str, counts: ParameterCounts) -> Iterator[Check]:
    if counts.parameters is not None:
        yield Check(card.name, f"parameters: {kind} = declared", counts.parameters, card.parameters)
    if counts.trainable_parameters is not None:
        yield Check(card.name, f"trainable: {kind} = declared", counts.trainable_parameters, card.trainable_parameters)
    for path, expected in counts.layers.items():
        found = {layer.path: layer.parameters for layer in layers.layers}.get(path)
        yield Check(card.name, f"{path}: {kind} = counted", expected, found)
    for path, shapes in counts.shapes.items():
        yield Check(card.name, f"{path}: output shape", shapes, layers.shapes.get(path))
    for what, size in counts.megabytes.items():
        yield Check(card.name, f"MB of {what.replace('_', ' and ')}", size, round(layers.megabytes[what], 2))


def _is_complete(registry: Registry, recipe: Recipe) -> bool:
    """Tell whether the plugins are installed that a recipe needs; without them there is nothing to check."""
    return recipe.model in registry.models and recipe.dataset in registry.datasets


def check_recipe(registry: Registry, name: str) -> Check:
    """Tell whether a recipe's plan is complete."""
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
    """With two classes a model may have one logit or two; we learn which from its output's shape."""
    return 1 if card.num_classes == 2 and shape[-1:] == (1,) else card.num_classes


def _output_shape(card: ModelCard) -> tuple[int, ...]:
    with torch.device("meta"), torch.inference_mode():
        images = torch.zeros(2, card.input.channels, card.input.size, card.input.size)
        return tuple(build_model(card)(images).shape)
