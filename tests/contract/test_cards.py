"""The contract of every installed card: new models and datasets are tested here without writing a test."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import zoo_core as zoo
from zoo_core import Registry, Store, load_registry
from zoo_core.cards.fields import resolve
from zoo_core.engine.models.build import build_model, count_parameters, split_head
from zoo_core.store.sources import is_remote

REGISTRY = load_registry()
# only some of a catalogue's models, spread over its names; its plugin tests more of them
SOME = [name for one in REGISTRY.models.catalogues.values() for name in sorted(one.models)[:: len(one.models) // 6 + 1]]
MODELS = [*sorted(REGISTRY.models.single), *SOME]


def test_everything_installed_was_loaded() -> None:
    assert REGISTRY.problems == ()
    assert {"fashion-cnn", "horses-cnn", "horses-cnn-300", "horses-inception"} <= set(REGISTRY.models)


@pytest.mark.parametrize("name", MODELS)
def test_logits_for_its_own_and_for_other_classes(name: str) -> None:
    card = REGISTRY.model(name)
    for classes in (card.num_classes, 2, 3):
        with torch.device("meta"), torch.inference_mode():
            images = torch.zeros(2, card.input.channels, card.input.size, card.input.size)
            logits = build_model(card, num_classes=classes)(images)
        assert tuple(logits.shape) in {(2, classes), (2, 1) if classes == 2 else (2, classes)}
        assert logits.dtype == torch.float32


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_as_declared(name: str) -> None:
    card = REGISTRY.model(name)
    with torch.device("meta"):
        assert count_parameters(build_model(card)) == card.parameters


@pytest.mark.parametrize("name", MODELS)
def test_the_head_is_replaceable(name: str) -> None:
    card = REGISTRY.model(name)
    with torch.device("meta"):
        model = build_model(card)
    names = list(model.state_dict())
    with split_head(model, card) as (backbone, head):
        assert len(backbone.state_dict()) + len(head.state_dict()) == len(names)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("name", MODELS)
def test_preprocessing_gives_what_the_model_takes_and_is_deterministic(name: str) -> None:
    card, image = REGISTRY.model(name), Image.effect_noise((320, 240), 90).convert("RGB")
    for weights in (None, *(one.name for one in card.weights)):
        transform = zoo.transforms(name, weights=weights)
        assert transform(image).shape == (card.input.channels, card.input.size, card.input.size)
        assert torch.equal(transform(image), transform(image))


@pytest.mark.parametrize("name", sorted(REGISTRY.datasets))
def test_available_editions_match_their_cards(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    card = REGISTRY.dataset(name)
    for edition in card.editions:
        if any(is_remote(source) for file in edition.files.values() for source in file.sources):
            continue
        for split, count in edition.examples.items():
            images = zoo.load_dataset(name, split, edition=edition.name, store=store)
            assert len(images) == count
            labels = [images[index][1] for index in range(0, count, 97)]
            assert set(labels) <= set(range(len(card.classes)))
            assert len(images.fingerprint) == 64


@pytest.mark.parametrize("name", sorted(REGISTRY.recipes))
def test_every_recipe_has_a_plan(name: str) -> None:
    plan = REGISTRY.plan(name)
    assert plan.recipe.summary
    if plan.model.classes is not None:
        assert plan.classes == plan.model.classes


@pytest.mark.parametrize("name", sorted(REGISTRY.trainers))
def test_every_trainer_and_its_settings_can_be_loaded(name: str) -> None:
    card = REGISTRY.trainers[name]
    assert callable(resolve(card.trainer)().fit)
    assert resolve(card.settings)().model_dump() is not None


def test_references_name_installed_models(installed: Registry) -> None:
    assert set(installed.references) <= set(installed.models)
