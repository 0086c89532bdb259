from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from zoo_core import File, ImageInput, ModelCard, PluginError, Recipe, Source, UsageError, WeightsCard
from zoo_core.cards.fields import resolve
from zoo_core.recipes.reference import ReferenceMetric
from zoo_core.recipes.settings import Adam
from zoo_core.runs.legacy import upgrade

SHA = "0" * 64
FILE = File(sources=(Source(uri="file:///x", size=1, sha256=SHA),), size=1, sha256=SHA)
CARD: dict[str, Any] = {
    "name": "newt",
    "summary": "s",
    "license": "l",
    "source": "s",
    "builder": "zoo_pond.model:PondNet",
    "input": ImageInput(size=8, mean=(0, 0, 0), std=(1, 1, 1)),
    "num_classes": 2,
    "parameters": 1,
}


def weights(name: str, covers: Any, backbone: str | None = None) -> WeightsCard:
    return WeightsCard(name=name, covers=covers, backbone=backbone, file=FILE, license="l", provenance="p")


@pytest.mark.parametrize("name", ["Horses", "a b", "../x", "a//b", "-a", "a-", "", "x" * 65, "ä", "a/b/c", "a\n"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ModelCard(**{**CARD, "name": name})


@pytest.mark.parametrize("name", ["horses-inception", "timm/resnet50.a1_in1k", "a", "x1"])
def test_alternative_spellings_of_a_name_are_accepted(name: str) -> None:
    assert ModelCard(**{**CARD, "name": name}).name == name


@pytest.mark.parametrize("uri", ["ftp://x/y", "/etc/passwd", "data:x", "", "https://a b"])
def test_a_source_of_a_foreign_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        Source(uri=uri, size=1, sha256=SHA)


def test_cards_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelCard(**CARD).parameters = 2  # type: ignore[misc]


def test_a_card_names_as_many_classes_as_it_counts() -> None:
    with pytest.raises(ValidationError, match="3 classes are named, but num_classes is 2"):
        ModelCard(**{**CARD, "classes": ("a", "b", "c")})


def test_preprocessing_has_one_value_per_channel() -> None:
    with pytest.raises(ValidationError, match="mean and std must have 1 value"):
        ImageInput(size=8, channels=1, mean=(0, 0, 0), std=(1, 1, 1))


def test_a_heads_weights_name_their_backbone() -> None:
    with pytest.raises(ValidationError, match="a head's weights name their backbone"):
        weights("h", "head")


def test_weights_are_selected_and_a_head_brings_its_backbone() -> None:
    first, second, head = weights("a", "backbone"), weights("b", "backbone"), weights("h", "head", "b")
    card = ModelCard(**CARD, head="fc", weights=(first, second, head))
    assert card.select(None).cards == card.select("none").cards == ()
    assert card.select("pretrained", "fresh").cards == (first,)
    assert card.select("b").cards == (second,)
    assert card.select("pretrained").cards == card.select("trained").cards == (second, head)
    assert card.select("h", "fresh").cards == (second,)
    assert [card.select(*asked).has_head for asked in [("b",), ("h",), ("h", "fresh")]] == [False, True, False]


def test_pretrained_falls_back_to_a_backbone() -> None:
    card = ModelCard(**CARD, weights=(weights("a", "backbone"),))
    assert card.select("pretrained").name == "a"
    assert not card.select("pretrained").has_head


def test_missing_weights_are_an_error_that_lists_the_available_ones() -> None:
    card = ModelCard(**CARD, weights=(weights("a", "backbone"),))
    with pytest.raises(UsageError, match=r"newt has no 'c' weights\nits card lists these: a"):
        card.select("c")


def test_preprocessing_belongs_to_the_weights() -> None:
    own = ImageInput(size=16, mean=(0, 0, 0), std=(1, 1, 1))
    with_imported = weights("a", "backbone").model_copy(update={"input": own})
    card = ModelCard(**CARD, weights=(with_imported, weights("b", "backbone")))
    assert card.select("a").input.size == 16
    assert card.select("b").input.size == 8


@pytest.mark.parametrize(
    ("weights", "head"), [(None, None), ("pretrained", "fresh"), ("trained", "keep"), ("tv-imagenet", "keep")]
)
def test_old_plans_state_whether_the_head_is_loaded(weights: str | None, head: str | None) -> None:
    """Pretrained used to mean a backbone under a fresh head; all other weights were loaded with theirs."""
    assert upgrade("plan.json", {"recipe": {"weights": weights}})["recipe"].get("head") == head


def test_a_recipe_knows_other_words_for_weights() -> None:
    base = {"name": "a", "summary": "s", "model": "m", "dataset": "d", "epochs": 1, "batch_size": 1}
    assert Recipe.model_validate({**base, "weights": "none"}).weights is None
    trained = Recipe.model_validate({**base, "weights": "trained"})
    assert (trained.weights, trained.head) == ("pretrained", "keep")
    assert Recipe.model_validate({**base, "weights": "pretrained"}).head == "fresh"


def test_a_reference_that_cannot_be_imported_is_a_plugin_error() -> None:
    with pytest.raises(PluginError, match=r"'zoo_pond.model:Pnd' cannot be imported"):
        resolve("zoo_pond.model:Pnd")


def test_a_recipe_has_defaults() -> None:
    recipe = Recipe(name="a", summary="s", model="m", dataset="d", epochs=1, batch_size=1)
    assert (recipe.trainer, recipe.optimizer, recipe.seed, recipe.weights) == ("supervised", Adam(), 0, None)


@pytest.mark.parametrize("lr", [0, -1, float("nan"), float("inf")])
def test_a_learning_rate_is_a_positive_number(lr: float) -> None:
    with pytest.raises(ValidationError):
        Adam(lr=lr)


def test_a_reference_metric_is_a_bound_or_a_value() -> None:
    assert ReferenceMetric(at_least=0.95).holds(0.95)
    assert not ReferenceMetric(at_least=0.95).holds(0.949)
    assert ReferenceMetric(value=0.5, within=0.1).holds(0.6)
    assert not ReferenceMetric(value=0.5, within=0.1).holds(0.61)
    with pytest.raises(ValidationError, match="give either"):
        ReferenceMetric(at_least=0.5, value=0.5, within=0.1)


def test_a_shipped_file_needs_its_size_and_hash_once() -> None:
    file = File.shipped("zoo_x/data/x.bin", 7, SHA)
    source = Source(uri="package:zoo_x/data/x.bin", size=7, sha256=SHA)
    assert file == File(sources=(source,), size=7, sha256=SHA)


def test_a_download_may_be_converted_and_have_mirrors() -> None:
    assert File.download("https://a/x", 7, SHA).size == 7
    converted = File.download(
        "https://a/x.gz",
        7,
        SHA,
        "zoo_core:gunzip",
        content_size=9,
        content_sha256="1" * 64,
        mirrors=("https://b/x.gz",),
    )
    assert (converted.size, converted.sha256) == (9, "1" * 64)
    assert [(source.uri, source.size) for source in converted.sources] == [("https://a/x.gz", 7), ("https://b/x.gz", 7)]
    with pytest.raises(ValueError, match="content_size"):
        File.download("https://a/x.gz", 7, SHA, "zoo_core:gunzip")
