"""Does a model, a dataset or a trainer keep its word? Tried on small made-up images; nothing is fetched."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.cards import DatasetCard, Edition, ImageInput, ModelCard, TrainerCard, Value, resolve
from zoo_core.engine.build import build_model, fit_tensors, load_tensors, save_tensors, split_head, state_hash
from zoo_core.engine.checks import Check, check_dataset, check_model, is_at_hand
from zoo_core.engine.data import ArrayImages, ImageSet, load_split, preprocessing
from zoo_core.engine.frozen_features import FrozenFeatures
from zoo_core.engine.trainer import Job
from zoo_core.errors import UsageError
from zoo_core.plans import Plan
from zoo_core.recipes import Figures, Recipe
from zoo_core.results import Checkpoint, EpochResult, Event, TrainState
from zoo_core.store import Store
from zoo_core.trainers import FrozenFeaturesSettings

EPOCHS, IMAGES, OTHER_CLASSES = 2, 8, 3
EVERY = 97  # of a dataset's images one in this many is decoded
TINY = ModelCard(
    name="tiny",
    summary="What trainers are tried on",
    license="Apache-2.0",
    source="zoo",
    builder="zoo_core.engine.conformance:Tiny",
    input=ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    num_classes=2,
    head="fc",
    parameters=170,
)


class Tiny(nn.Module):
    """A convolution that a test can freeze, BatchNorm, and a head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, kernel_size=3)
        self.bn = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.fc(self.hidden(self.bn(self.conv(images)).relu().mean(dim=(2, 3))).relu())
        return logits


def model_checks(card: ModelCard, figures: Figures) -> Iterator[Check]:
    """Hold a model against its card: schema, counts, logits, preprocessing, a frozen trunk, and saving."""
    yield _valid(card.name, card)
    yield from _guarded(card.name, "parameters and logits", lambda: check_model(card, figures))
    yield _tried(card.name, f"logits for {OTHER_CLASSES} classes", (2, OTHER_CLASSES), lambda: _other_logits(card))
    yield from _guarded(card.name, "in evaluation", lambda: _evaluation(card))
    if card.head is not None:
        what = "trunk after training the head, parameters and buffers"
        yield _tried(card.name, what, "unchanged", lambda: _trunk_after_training(card))


def dataset_checks(card: DatasetCard, store: Store) -> Iterator[Check]:
    """Hold a dataset against its card: schema, counts, labels and images of every edition that is at hand."""
    yield _valid(card.name, card)
    yield from _guarded(card.name, "images", lambda: check_dataset(card, store))
    for edition in card.editions:
        if all(is_at_hand(file, store) for file in edition.files.values()):
            for split in edition.examples:
                load = partial(load_split, card, edition, split, store)
                yield from _guarded(f"{card.name}.{edition.name}", split, partial(_images, card, edition, split, load))


def trainer_checks(card: TrainerCard, settings: Mapping[str, Any]) -> Iterator[Check]:
    """Let a trainer train a tiny model, and go on from its first checkpoint.

    One that refuses the tiny model with a UsageError, as it may, is held against its card alone.
    """
    yield _valid(card.name, card)
    yield _tried(card.name, "settings", "valid", lambda: resolve(card.settings)(**settings) and "valid")
    try:
        yield from _training(card, settings)
    except UsageError:
        return
    except Exception as error:
        yield Check(card.name, "training a tiny model", "no error", f"{type(error).__name__}: {error}")


def _valid(name: str, card: Value) -> Check:
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


def _trunk_after_training(card: ModelCard) -> str:
    model = build_model(card)
    with split_head(model, card) as (trunk, head):
        before, head_before = state_hash(trunk), state_hash(head)
    settings = FrozenFeaturesSettings().model_dump()
    trainer = TrainerCard(name="check", summary="check", trainer="zoo_core:Trainer", settings="zoo_core:Trainer")
    with TemporaryDirectory() as folder:
        list(FrozenFeatures().fit(_job(card, model, trainer, settings, Path(folder), epochs=1)))
    with split_head(model, card) as (trunk, head):
        if state_hash(head) == head_before:
            return "the head learned nothing"
        return "unchanged" if state_hash(trunk) == before else "changed"


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


def _training(card: TrainerCard, settings: Mapping[str, Any]) -> Iterator[Check]:
    settings = resolve(card.settings)(**settings).model_dump(mode="json")
    through, before = _tiny(), _tiny()
    events = list(_copied(_fit(card, settings, through, None)))
    results = [event for event in events if isinstance(event, EpochResult)]
    yield Check(card.name, "epochs told", list(range(1, EPOCHS + 1)), [one.epoch for one in results])
    figures = [value for one in results for value in one.metrics.values()]
    yield Check(card.name, "figures are finite numbers", True, all(map(math.isfinite, figures)) and bool(figures))
    yield Check(card.name, "parameters after training", "changed", _changed(through, before))
    yield Check(card.name, "frozen parameters after training", "unchanged", _changed(through.conv, before.conv))
    states = [event.state for event in events if isinstance(event, Checkpoint)]
    if states:
        save_tensors(states[0].tensors)
        json.dumps(dict(states[0].values))
        resumed = _tiny()
        list(_fit(card, settings, resumed, states[0]))
        told = "as without a pause" if state_hash(resumed) == state_hash(through) else "other parameters"
        yield Check(card.name, "going on from the first checkpoint", "as without a pause", told)


def _fit(
    card: TrainerCard, settings: Mapping[str, Any], model: nn.Module, resume: TrainState | None
) -> Iterator[Event]:
    with TemporaryDirectory() as folder:
        yield from resolve(card.trainer)().fit(_job(TINY, model, card, settings, Path(folder)), resume)


def _copied(events: Iterator[Event]) -> Iterator[Event]:
    """Copy what a checkpoint carries: its tensors are the live ones."""
    for event in events:
        if isinstance(event, Checkpoint):
            tensors = {name: tensor.detach().clone() for name, tensor in event.state.tensors.items()}
            values = json.loads(json.dumps(dict(event.state.values)))
            event = Checkpoint(TrainState(event.state.epoch, event.state.step, tensors, values))
        yield event


def _tiny() -> Tiny:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Tiny(TINY.num_classes)
    model.conv.requires_grad_(False)
    return model


def _changed(one: nn.Module, other: nn.Module) -> str:
    same = all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    return "unchanged" if same else "changed"


def _job(
    card: ModelCard,
    model: nn.Module,
    trainer: TrainerCard,
    settings: Mapping[str, Any],
    folder: Path,
    epochs: int = EPOCHS,
) -> Job:
    """Return the job of training a model on a few images of noise."""
    classes = card.classes or tuple(str(number) for number in range(card.num_classes))
    dataset, images = _noise_card(classes), _noise(card.input, classes)
    recipe = Recipe(
        name="check",
        summary="check",
        model=card.name,
        dataset="noise",
        epochs=epochs,
        batch_size=4,
        precision="float32",
    )
    plan = Plan(
        recipe=recipe,
        model=card,
        dataset=dataset,
        edition=dataset.edition(),
        trainer=trainer,
        settings=settings,
        weights=(),
        classes=classes,
        device="cpu",
    )
    return Job(model, images, images, plan, Store(folder), torch.device("cpu"))


def _noise_card(classes: tuple[str, ...]) -> DatasetCard:
    edition = Edition(name="noise", summary="noise", files={}, examples={"train": IMAGES})
    return DatasetCard(
        name="noise",
        summary="noise",
        license="CC0-1.0",
        attribution="nobody",
        source="zoo",
        classes=classes,
        editions=(edition,),
        loader="zoo_core:ArrayImages",
    )


def _noise(spec: ImageInput, classes: tuple[str, ...]) -> ArrayImages:
    shape = (IMAGES, spec.size, spec.size) + ((3,) if spec.channels == 3 else ())
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return ArrayImages(pixels, np.arange(IMAGES) % len(classes), classes)
