"""Checks on a few images, offline, that models, datasets and trainers do what their cards declare."""

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

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import FrozenModel, resolve
from zoo_core.cards.models import ModelCard
from zoo_core.cards.trainers import TrainerCard
from zoo_core.data.dataset import load_split
from zoo_core.engine.checks.declared import available_offline, check_dataset, check_model
from zoo_core.engine.checks.fixtures import EPOCHS, SMALL, multi_label_job, noise_job, tiny_job
from zoo_core.engine.checks.guards import describe, guarded, tried
from zoo_core.engine.checks.recipe_fields import NewJob, recipe_field_checks
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.engine.models.build import build_model, split_head, state_hash
from zoo_core.engine.models.weights import fit_tensors, load_tensors, save_tensors
from zoo_core.engine.training.frozen_features import FrozenFeaturesTrainer
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import NetworkError, UsageError
from zoo_core.events import Checkpoint, EpochResult, Event, TrainState
from zoo_core.images.image_sets import ImageSet
from zoo_core.images.labels import classes_in
from zoo_core.recipes.reference import ModelReference
from zoo_core.registry.builtin import FrozenFeaturesSettings
from zoo_core.results import Check
from zoo_core.store.store import Store

OTHER_CLASSES = 3
EVERY = 97  # only every 97th image of a dataset is decoded


def model_checks(card: ModelCard, reference: ModelReference) -> Iterator[Check]:
    """Compare a model with its card: schema, counts, logits, preprocessing, a frozen backbone, and saving."""
    yield _valid(card.name, card)
    yield from guarded(card.name, "parameters and logits", lambda: check_model(card, reference))
    yield tried(card.name, f"logits for {OTHER_CLASSES} classes", (2, OTHER_CLASSES), lambda: _other_logits(card))
    yield from guarded(card.name, "in evaluation", lambda: _evaluation(card))
    if card.head is not None:
        what = "backbone after training the head, parameters and buffers"
        yield tried(card.name, what, "unchanged", lambda: _backbone_after_training(card))


def dataset_checks(card: DatasetCard, store: Store) -> Iterator[Check]:
    """Compare a dataset with its card: schema, counts, labels and images of every edition on this machine."""
    yield _valid(card.name, card)
    yield from guarded(card.name, "images", lambda: check_dataset(card, store))
    for edition in card.editions:
        if all(available_offline(file, store) for file in edition.files.values()):
            for split in edition.examples:
                load = partial(load_split, card, edition, split, store)
                yield from guarded(f"{card.name}.{edition.name}", split, partial(_images, card, edition, split, load))


def trainer_checks(card: TrainerCard, settings: Mapping[str, Any], recipes: Mapping[str, NewJob]) -> Iterator[Check]:
    """Let a trainer train a tiny model, resume from its first checkpoint, and train with other recipe fields.

    A trainer may refuse the tiny model with a UsageError, or need files that are not on this machine. It is then tried
    on the small jobs in `recipes`, which maps names to jobs.
    """
    yield _valid(card.name, card)
    yield tried(card.name, "settings", "valid", lambda: resolve(card.settings)(**settings) and "valid")
    try:
        yield from _trained_tiny(card, settings)
    except (UsageError, NetworkError) as refusal:
        yield from _trained_few(card, recipes, refusal)
    except Exception as error:
        yield Check(card.name, "training a tiny model", "no error", describe(error))


def _trained_tiny(card: TrainerCard, settings: Mapping[str, Any]) -> Iterator[Check]:
    settings = resolve(card.settings)(**settings).model_dump(mode="json")
    with TemporaryDirectory() as folder:
        store = Store(Path(folder), offline=True)

        def new_job(changes: Mapping[str, Any]) -> Job:
            return tiny_job(card, settings, store, changes)

        yield from _training(card, new_job)
        yield from recipe_field_checks(card, new_job, "")
        if "multi-label" in card.tasks:
            yield from _training(card, lambda changes: multi_label_job(new_job(changes)), " (multi-label)")


def _trained_few(
    card: TrainerCard, recipes: Mapping[str, NewJob], refusal: UsageError | NetworkError
) -> Iterator[Check]:
    """Try the recipes; one that needs the network is reported as not tried."""
    for name, new_job in recipes.items():
        what, where = f"training a few images of {name}", f" ({name})"
        try:
            yield from _training(card, new_job, where)
            yield from recipe_field_checks(card, new_job, where)
        except NetworkError as error:
            yield Check(card.name, what, "no error", f"{error.what}; checks run offline", tried=False)
        except Exception as error:
            yield Check(card.name, what, "no error", describe(error))
    if not recipes:
        what = "training a tiny model, which it refuses; its plugin has no recipe for it"
        yield Check(card.name, what, "no error", refusal.what, tried=False)


def _valid(name: str, card: FrozenModel) -> Check:
    """Validate a card: `model_copy` and `model_construct` do not."""
    return tried(name, "card", "valid", lambda: type(card).model_validate(card.model_dump()) and "valid")


def _other_logits(card: ModelCard) -> tuple[int, ...]:
    with torch.device("meta"), torch.inference_mode():
        images = torch.zeros(2, card.input.channels, card.input.size, card.input.size)
        return tuple(build_model(card, num_classes=OTHER_CLASSES)(images).shape)


def _evaluation(card: ModelCard) -> Iterator[Check]:
    """Check the logits of an image that is computed twice, and of a copy of the model that was saved and loaded."""
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


def _same(first: Tensor, second: Tensor) -> str:
    return "the same" if torch.equal(first, second) else f"up to {(first - second).abs().max().item():.3g} apart"


def _backbone_after_training(card: ModelCard) -> str:
    model = build_model(card)
    with split_head(model, card) as (backbone, head):
        before, head_before = state_hash(backbone), state_hash(head)
    settings = FrozenFeaturesSettings().model_dump()
    trainer = TrainerCard(name="check", summary="check", trainer="zoo_core:Trainer", settings="zoo_core:Trainer")
    with TemporaryDirectory() as folder:
        list(
            FrozenFeaturesTrainer().fit(
                noise_job(card, model, trainer, settings, Store(Path(folder)), {**SMALL, "epochs": 1})
            )
        )
    with split_head(model, card) as (backbone, head):
        if state_hash(head) == head_before:
            return "the head learned nothing"
        return "unchanged" if state_hash(backbone) == before else "changed"


def _images(card: DatasetCard, edition: Edition, split: str, load: Callable[[], ImageSet]) -> Iterator[Check]:
    where, images, again = f"{card.name}.{edition.name}", load(), load()
    samples = {index: images[index] for index in range(0, len(images), EVERY)}
    labels = [one for _, label in samples.values() for one in classes_in(label)]
    yield Check(where, f"{split} labels without a class", [], [n for n in labels if not 0 <= n < len(card.classes)])
    differing = [index for index, (_, label) in samples.items() if label != images.label(index)]
    yield Check(where, f"{split} labels that differ without the image", [], differing)
    not_images = [type(image).__name__ for image, _ in samples.values() if not isinstance(image, Image.Image)]
    yield Check(where, f"{split} images that are not PIL images", [], not_images[:1])
    compared = "the same" if images.fingerprint == again.fingerprint else "another"
    yield Check(where, f"{split} fingerprint, opened twice", "the same", compared)
    names = {images.name(index) for index in range(len(images))}
    yield Check(where, f"{split} images with different names", len(images), len(names))


def _training(card: TrainerCard, new_job: NewJob, where: str = "") -> Iterator[Check]:
    """Train the same job twice, the second time from the first checkpoint."""
    straight, before = new_job({}), new_job({}).model
    events = list(_copied(_fit(card, straight, None)))
    results = [event for event in events if isinstance(event, EpochResult)]
    epochs = EPOCHS if "epochs" in card.uses else max(1, len(results))
    yield Check(card.name, f"epochs reported{where}", list(range(1, epochs + 1)), [result.epoch for result in results])
    values = [value for result in results for value in result.metrics.values()]
    finite = all(map(math.isfinite, values)) and bool(values)
    yield Check(card.name, f"metrics are finite numbers{where}", True, finite)
    yield Check(card.name, f"parameters after training{where}", "changed", _changed(straight.model, before))
    frozen = _changed(straight.model, before, frozen=True)
    yield Check(card.name, f"frozen parameters after training{where}", "unchanged", frozen)
    states = [event.state for event in events if isinstance(event, Checkpoint)]
    if states:
        resumed = _resumed(card, new_job({}), states[0], straight.model)
        yield Check(card.name, f"resuming from the first checkpoint{where}", "the same parameters", resumed)


def _resumed(card: TrainerCard, job: Job, state: TrainState, straight: nn.Module) -> str:
    save_tensors(state.tensors)
    json.dumps(dict(state.values))
    list(_fit(card, job, state))
    return "the same parameters" if state_hash(job.model) == state_hash(straight) else "other parameters"


def _fit(card: TrainerCard, job: Job, resume: TrainState | None) -> Iterator[Event]:
    return iter(resolve(card.trainer)().fit(job, resume))


def _copied(events: Iterator[Event]) -> Iterator[Event]:
    """Copy the state of each checkpoint: its tensors are live."""
    for event in events:
        if isinstance(event, Checkpoint):
            tensors = {name: tensor.detach().clone() for name, tensor in event.state.tensors.items()}
            values = json.loads(json.dumps(dict(event.state.values)))
            event = Checkpoint(TrainState(event.state.epoch, event.state.step, tensors, values))
        yield event


def _changed(before: nn.Module, after: nn.Module, *, frozen: bool = False) -> str:
    """Compare the parameters of two models: all, or those that are frozen in the second."""
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    same = all(torch.equal(a, b) for a, b in pairs if not (frozen and b.requires_grad))
    return "unchanged" if same else "changed"
