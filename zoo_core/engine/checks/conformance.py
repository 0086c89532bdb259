"""Does a model, a dataset or a trainer keep its word? Tried on a few images; nothing is fetched."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.cards import DatasetCard, Edition, FrozenModel, ModelCard, TrainerCard, resolve
from zoo_core.engine.checks.declared import available_offline, check_dataset, check_model
from zoo_core.engine.checks.fixtures import EPOCHS, noise_job, tiny_job
from zoo_core.engine.data.batches import load_split
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.engine.models.build import build_model, split_head, state_hash
from zoo_core.engine.models.weights import fit_tensors, load_tensors, save_tensors
from zoo_core.engine.training.frozen_features import FrozenFeaturesTrainer
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import NetworkError, UsageError
from zoo_core.events import Checkpoint, EpochResult, Event, TrainState
from zoo_core.images.image_sets import ImageSet
from zoo_core.recipes import ModelReference
from zoo_core.registry.builtin import FrozenFeaturesSettings
from zoo_core.results import Check
from zoo_core.store.store import Store

OTHER_CLASSES = 3
EVERY = 97  # of a dataset's images one in this many is decoded


def model_checks(card: ModelCard, figures: ModelReference) -> Iterator[Check]:
    """Hold a model against its card: schema, counts, logits, preprocessing, a frozen backbone, and saving."""
    yield _valid(card.name, card)
    yield from _guarded(card.name, "parameters and logits", lambda: check_model(card, figures))
    yield _tried(card.name, f"logits for {OTHER_CLASSES} classes", (2, OTHER_CLASSES), lambda: _other_logits(card))
    yield from _guarded(card.name, "in evaluation", lambda: _evaluation(card))
    if card.head is not None:
        what = "backbone after training the head, parameters and buffers"
        yield _tried(card.name, what, "unchanged", lambda: _backbone_after_training(card))


def dataset_checks(card: DatasetCard, store: Store) -> Iterator[Check]:
    """Hold a dataset against its card: schema, counts, labels and images of every edition that is at hand."""
    yield _valid(card.name, card)
    yield from _guarded(card.name, "images", lambda: check_dataset(card, store))
    for edition in card.editions:
        if all(available_offline(file, store) for file in edition.files.values()):
            for split in edition.examples:
                load = partial(load_split, card, edition, split, store)
                yield from _guarded(f"{card.name}.{edition.name}", split, partial(_images, card, edition, split, load))


def trainer_checks(
    card: TrainerCard, settings: Mapping[str, Any], recipes: Mapping[str, Callable[[], Job]]
) -> Iterator[Check]:
    """Let a trainer train a tiny model, and go on from its first checkpoint.

    One that refuses the tiny model with a UsageError, as it may, or needs what is not here, is given the small jobs of
    `recipes`, by their names.
    """
    yield _valid(card.name, card)
    yield _tried(card.name, "settings", "valid", lambda: resolve(card.settings)(**settings) and "valid")
    try:
        yield from _trained_tiny(card, settings)
    except (UsageError, NetworkError) as refusal:
        yield from _trained_few(card, recipes, refusal)
    except Exception as error:
        yield Check(card.name, "training a tiny model", "no error", f"{type(error).__name__}: {error}")


def _trained_tiny(card: TrainerCard, settings: Mapping[str, Any]) -> Iterator[Check]:
    settings = resolve(card.settings)(**settings).model_dump(mode="json")
    with TemporaryDirectory() as folder:
        yield from _training(card, lambda: tiny_job(card, settings, Store(Path(folder), offline=True)))


def _trained_few(
    card: TrainerCard, recipes: Mapping[str, Callable[[], Job]], refusal: UsageError | NetworkError
) -> Iterator[Check]:
    """Try the recipes; what needs the network for it is told, and counts neither for nor against the trainer."""
    for name, job in recipes.items():
        what = f"training a few images of {name}"
        try:
            yield from _training(card, job, f" ({name})")
        except NetworkError as error:
            yield Check(card.name, what, "no error", f"{error.what} without the network", tried=False)
        except Exception as error:
            yield Check(card.name, what, "no error", f"{type(error).__name__}: {error}")
    if not recipes:
        what = "training a tiny model, which it refuses; no recipe beside it uses it"
        yield Check(card.name, what, "no error", refusal.what, tried=False)


def _valid(name: str, card: FrozenModel) -> Check:
    """Hold a card against its schema: `model_copy` and `model_construct` pass it by."""
    return _tried(name, "card", "valid", lambda: type(card).model_validate(card.model_dump()) and "valid")


def _tried(name: str, what: str, expected: object, look: Callable[[], object]) -> Check:
    try:
        return Check(name, what, expected, look())
    except Exception as error:  # whatever a plugin's code raises is a finding
        return Check(name, what, expected, f"{type(error).__name__}: {error}")


def _guarded(name: str, what: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except Exception as error:
        yield Check(name, what, "no error", f"{type(error).__name__}: {error}")


def _other_logits(card: ModelCard) -> tuple[int, ...]:
    with torch.device("meta"), torch.inference_mode():
        images = torch.zeros(2, card.input.channels, card.input.size, card.input.size)
        return tuple(build_model(card, num_classes=OTHER_CLASSES)(images).shape)


def _evaluation(card: ModelCard) -> Iterator[Check]:
    """Look at real logits: of one image twice, and of a copy that was saved and loaded."""
    photo, transform = Image.effect_noise((320, 240), 90).convert("RGB"), preprocessing(card.input)
    images = torch.stack([transform(photo), transform(photo)])
    side = card.input.size
    yield Check(card.name, "preprocessed images", (2, card.input.channels, side, side), tuple(images.shape))
    yield Check(card.name, "one image, preprocessed twice", "the same", _same(images[0], images[1]))
    model, other = build_model(card), build_model(card)
    with torch.inference_mode():
        logits = model(images)
        yield Check(card.name, "type of logits", "torch.float32", str(logits.dtype))
        yield Check(card.name, "logits, computed twice", "the same", _same(logits, model(images)))
        fit_tensors(other, load_tensors(save_tensors(model.state_dict()), card.name), card.name)
        yield Check(card.name, "logits, saved and loaded", "the same", _same(logits, other(images)))


def _same(one: Tensor, other: Tensor) -> str:
    return "the same" if torch.equal(one, other) else f"up to {(one - other).abs().max().item():.3g} apart"


def _backbone_after_training(card: ModelCard) -> str:
    model = build_model(card)
    with split_head(model, card) as (backbone, head):
        before, head_before = state_hash(backbone), state_hash(head)
    settings = FrozenFeaturesSettings().model_dump()
    trainer = TrainerCard(name="check", summary="check", trainer="zoo_core:Trainer", settings="zoo_core:Trainer")
    with TemporaryDirectory() as folder:
        list(FrozenFeaturesTrainer().fit(noise_job(card, model, trainer, settings, Store(Path(folder)), epochs=1)))
    with split_head(model, card) as (backbone, head):
        if state_hash(head) == head_before:
            return "the head learned nothing"
        return "unchanged" if state_hash(backbone) == before else "changed"


def _images(card: DatasetCard, edition: Edition, split: str, load: Callable[[], ImageSet]) -> Iterator[Check]:
    where, images, again = f"{card.name}.{edition.name}", load(), load()
    chosen = {index: images[index] for index in range(0, len(images), EVERY)}
    labels = [label for _, label in chosen.values()]
    yield Check(where, f"{split} labels beyond its classes", [], [n for n in labels if not 0 <= n < len(card.classes)])
    differing = [index for index, (_, label) in chosen.items() if label != images.label(index)]
    yield Check(where, f"{split} labels that differ without the image", [], differing)
    strange = [type(image).__name__ for image, _ in chosen.values() if not isinstance(image, Image.Image)]
    yield Check(where, f"{split} images that are no PIL images", [], strange[:1])
    told = "the same" if images.fingerprint == again.fingerprint else "another"
    yield Check(where, f"{split} fingerprint, opened twice", "the same", told)
    names = {images.name(index) for index in range(len(images))}
    yield Check(where, f"{split} images with a name of their own", len(images), len(names))


def _training(card: TrainerCard, new_job: Callable[[], Job], where: str = "") -> Iterator[Check]:
    """Train the same job twice, the second time from the first checkpoint."""
    through, before = new_job(), new_job().model
    events = list(_copied(_fit(card, through, None)))
    results = [event for event in events if isinstance(event, EpochResult)]
    yield Check(card.name, f"epochs told{where}", list(range(1, EPOCHS + 1)), [one.epoch for one in results])
    figures = [value for one in results for value in one.metrics.values()]
    yield Check(
        card.name, f"figures are finite numbers{where}", True, all(map(math.isfinite, figures)) and bool(figures)
    )
    yield Check(card.name, f"parameters after training{where}", "changed", _changed(through.model, before))
    frozen = _changed(through.model, before, frozen=True)
    yield Check(card.name, f"frozen parameters after training{where}", "unchanged", frozen)
    states = [event.state for event in events if isinstance(event, Checkpoint)]
    if states:
        told = _gone_on(card, new_job(), states[0], through.model)
        yield Check(card.name, f"going on from the first checkpoint{where}", "as without a pause", told)


def _gone_on(card: TrainerCard, job: Job, state: TrainState, through: nn.Module) -> str:
    save_tensors(state.tensors)
    json.dumps(dict(state.values))
    list(_fit(card, job, state))
    return "as without a pause" if state_hash(job.model) == state_hash(through) else "other parameters"


def _fit(card: TrainerCard, job: Job, resume: TrainState | None) -> Iterator[Event]:
    return iter(resolve(card.trainer)().fit(job, resume))


def _copied(events: Iterator[Event]) -> Iterator[Event]:
    """Copy what a checkpoint carries: its tensors are the live ones."""
    for event in events:
        if isinstance(event, Checkpoint):
            tensors = {name: tensor.detach().clone() for name, tensor in event.state.tensors.items()}
            values = json.loads(json.dumps(dict(event.state.values)))
            event = Checkpoint(TrainState(event.state.epoch, event.state.step, tensors, values))
        yield event


def _changed(one: nn.Module, other: nn.Module, *, frozen: bool = False) -> str:
    """Compare two models' parameters: all, or those that are frozen in the second."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    same = all(torch.equal(a, b) for a, b in pairs if not (frozen and b.requires_grad))
    return "unchanged" if same else "changed"
