"""`zoo compare`: the head and split of `zoo run transfer`, failures as rows, and a recommendation that holds up."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import zoo_core as zoo_module
from tests.conftest import Zoo
from zoo_core import BackboneRanking, BackboneScore, File, Job, Registry, Source, Store, UsageError, WeightsCard
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.weights import save_tensors
from zoo_core.engine.tuning.choice import chosen_models
from zoo_core.errors import UnknownName
from zoo_core.registry.model_index import ModelIndex
from zoo_core.runs.backbones import mcnemar, ranked


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up which distribution a package belongs to reads every installed distribution, for every key."""
    monkeypatch.setattr("zoo_core.engine.training.feature_key.owner_of", lambda package: package)


@pytest.fixture
def backbones(pond: Registry, tmp_path: Path) -> Registry:
    """The pond with trained weights for pond-net, and a second model with other weights."""
    card = pond.model("pond-net")
    models = dict(pond.models.single)
    for seed, name in enumerate(("pond-net", "pond-other")):
        seed_torch(seed, "build")
        content = save_tensors(build_model(card).state_dict())
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        file = File(
            sources=(Source(uri=path.as_uri(), size=len(content), sha256=digest),), size=len(content), sha256=digest
        )
        weights = WeightsCard(name="drawn", covers="all", file=file, license="CC0-1.0", provenance="a test")
        models[name] = card.model_copy(update={"name": name, "weights": (weights,)})
    tables = {**pond.tables, "models": ModelIndex(MappingProxyType(models), {})}
    return replace(pond, tables=MappingProxyType(tables))


def compared(registry: Registry, photos: Path, store: Store, *models: str, **options: Any) -> BackboneRanking:
    return zoo_module.compare(photos, models, registry=registry, store=store, progress=False, **options)


def test_each_row_is_what_the_run_with_this_model_measures(
    backbones: Registry, photos: Path, store: Store, tmp_path: Path
) -> None:
    ranking = compared(backbones, photos, store, "pond-net", "pond-*")
    assert sorted(score.model for score in ranking) == ["pond-net", "pond-other"]
    events = []
    for score in ranking:
        overrides = {"model": score.model}
        result = zoo_module.run(
            "transfer", data=photos, overrides=overrides, registry=backbones, store=store, on_event=events.append
        )
        assert score.accuracy == result.metrics["validation_accuracy"]
        assert score.cross_validation_accuracy == result.metrics["cross_validation_accuracy"]
        assert score.milliseconds > 0
        assert score.parameters == 259
    features = [event.what for event in events if isinstance(event, zoo_module.Progress) and "features" in event.what]
    assert features
    assert all("cached" in what for what in features)  # the run computed none again


def test_a_model_that_fails_is_a_row_with_the_reason(
    backbones: Registry, photos: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): backbones)
    said = zoo("compare", "alexnet", "pond-net", "--data", photos, "--json", "-o", tmp_path / "page.html")
    assert said.code == 3
    document = json.loads(said.out)
    assert [model["model"] for model in document["models"]] == ["pond-net", "alexnet"]
    assert "pretrained" in document["models"][1]["error"]
    assert document["recommended"] == "pond-net"
    assert "1 model could not be compared" in said.err
    page = (tmp_path / "page.html").read_text()
    assert "Not measured" in page
    assert "<svg" in page
    table = zoo("compare", "pond-net", "--data", photos)
    assert table.code == 0
    assert "recommended" in table.out
    assert "zoo run transfer --data" in table.err


def test_if_no_model_can_be_measured_its_error_is_raised(backbones: Registry, photos: Path, store: Store) -> None:
    with pytest.raises(UsageError, match="alexnet has no 'pretrained' weights"):
        compared(backbones, photos, store, "alexnet")


def test_a_network_that_cannot_run_does_not_end_the_comparison(
    backbones: Registry, photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(job: Job, batch_size: int) -> float:
        if job.plan.model.name == "pond-net":
            raise RuntimeError("shapes cannot be multiplied\nat length")
        return 0.001

    monkeypatch.setattr("zoo_core.engine.tuning.backbones.seconds_per_image", seconds)
    ranking = compared(backbones, photos, store, "pond-net", "pond-other")
    assert [one.model for one in ranking] == ["pond-other", "pond-net"]
    assert ranking.failed[0].error == "pond-net raised RuntimeError: shapes cannot be multiplied"


def test_ctrl_c_keeps_what_was_computed(
    backbones: Registry, photos: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def interrupted(job: Job, batch_size: int) -> float:
            raise KeyboardInterrupt

        patch.setattr("zoo_core.engine.tuning.backbones.seconds_per_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compared(backbones, photos, store, "pond-net")
    events = list[zoo_module.Event]()
    compared(backbones, photos, store, "pond-net", on_event=events.append)
    features = [one.what for one in events if isinstance(one, zoo_module.Progress) and "features" in one.what]
    assert features
    assert all("cached" in what for what in features)


def test_names_are_checked_before_anything_is_computed(backbones: Registry, store: Store, zoo: Zoo) -> None:
    for names in (["pond-nett"], ["nothing*"]):
        with pytest.raises(UnknownName):
            chosen_models(backbones, store, names)
    said = zoo("compare", "--data", "photos", "-o", "page.pdf")
    assert said.code == 2
    assert "page (.html)" in said.err


def test_by_default_the_available_models_are_compared(backbones: Registry, installed: Registry, store: Store) -> None:
    assert "horses-inception" in chosen_models(installed, store)  # from the package index
    offline = replace(store, offline=True)
    assert "horses-inception" not in chosen_models(installed, offline)
    assert "fashion-cnn" in chosen_models(installed, offline)  # its weights are in the package
    with pytest.raises(UsageError, match="no model with pretrained weights"):
        chosen_models(backbones, offline)  # a file elsewhere that was never fetched
    store.fetch(backbones.model("pond-net").weights[0].file, "pond-net")
    assert chosen_models(backbones, offline) == ["pond-net"]


def test_offline_is_a_row_too(backbones: Registry, installed: Registry, photos: Path, store: Store) -> None:
    models = ModelIndex(MappingProxyType({**backbones.models.single, **installed.models.single}), {})
    both = replace(backbones, tables=MappingProxyType({**backbones.tables, "models": models}))
    ranking = compared(both, photos, replace(store, offline=True), "horses-inception", "pond-net")
    assert [score.model for score in ranking.failed] == ["horses-inception"]
    assert "ZOO_OFFLINE" in ranking.failed[0].error


def score(model: str, right: int, wrong: int, milliseconds: float, images: int = 0) -> BackboneScore:
    outcomes = (*(True,) * right, *(False,) * wrong)
    return BackboneScore(model, outcomes=outcomes, images=images, milliseconds=milliseconds)


def test_the_fastest_that_is_as_good_is_recommended() -> None:
    scores = [score("slow", 95, 5, 100.0), score("quick", 94, 6, 10.0), score("worse", 80, 20, 1.0)]
    ranking = BackboneRanking("photos", 2, 100, "cpu", "float32", ranked([*scores, BackboneScore("x", error="no")]))
    assert [one.model for one in ranking] == ["slow", "quick", "worse", "x"]
    assert [ranking.mark(one) for one in ranking] == ["best", "recommended", "", ""]


def test_mcnemar_is_the_binomial_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar(560, 450) == pytest.approx(mcnemar(450, 560))
    assert 0.0 < mcnemar(560, 450) < 0.001
