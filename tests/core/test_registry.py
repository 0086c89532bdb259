from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zoo_pond
from hypothesis import HealthCheck, given, settings, strategies as st

from zoo_core import Plan, Registry, UnknownName, UsageError, list_models, load_registry
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.registry_file import packaged_registry, read_registry

RECIPE = 'summary = "s"\nmodel = "pond-net"\ndataset = "pond"\nepochs = 1\nbatch_size = 1\n'


def with_file(path: Path) -> Registry:
    manager = new_manager()
    manager.register(zoo_pond, name="zoo-pond 1.2.3")
    return load_registry([path], manager)


def test_a_misspelled_recipe_suggests_the_closest_name(pond: Registry) -> None:
    with pytest.raises(UnknownName, match="no recipe named 'pond-feature'; did you mean 'pond-features'"):
        pond.plan("pond-feature")


def test_a_plan_is_complete_and_can_be_read_back(pond: Registry) -> None:
    plan = pond.plan("pond-patient", {"optimizer.lr": 0.1})
    assert plan.settings == {"checkpoint_every": 2}
    assert plan.edition.name == "drawn"
    assert plan.classes == ("ducks", "frogs", "newts")
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan


def test_another_optimizer_has_its_own_defaults(pond: Registry) -> None:
    assert pond.plan("pond", {"optimizer.name": "adamw"}).recipe.optimizer.weight_decay == 0.01
    chosen = pond.plan("pond", {"optimizer.name": "sgd", "optimizer.lr": 0.1}).recipe.optimizer
    assert (chosen.name, chosen.lr) == ("sgd", 0.1)


@pytest.mark.parametrize(
    "overrides",
    [
        {"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True}},
        {"augment": [{"name": "rotation", "degrees": float("inf")}]},
        {"augment": [{"name": "affine", "scale": [1.2, 0.8]}]},
    ],
)
def test_what_the_library_would_refuse_is_refused_before_the_run(pond: Registry, overrides: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        pond.plan("pond", overrides)


@pytest.mark.parametrize("override", [{"seed": 3}, {"precision": "float32"}, {"epochs": 5}])
def test_the_same_recipe_keeps_its_published_metrics(installed: Registry, override: dict[str, Any]) -> None:
    assert installed.plan("horses-cnn", override).recipe.reference is not None


@pytest.mark.parametrize(
    "override",
    [{"model": "horses-cnn-300"}, {"epochs": 1}, {"optimizer.lr": 0.1}, {"batch_size": 4}, {"augment": []}],
)
def test_any_other_training_drops_the_published_metrics(installed: Registry, override: dict[str, Any]) -> None:
    assert installed.plan("horses-cnn", override).recipe.reference is None


def test_a_trainer_that_knows_one_label_per_image_refuses_others(pond: Registry) -> None:
    dataset = pond.datasets["pond"]
    assert (dataset.task, pond.plan("pond").task) == ("single-label", "single-label")
    labels = {"pond": dataset.model_copy(update={"task": "multi-label"})}
    several = replace(pond, tables={**pond.tables, "datasets": labels})
    assert several.plan("pond").task == "multi-label"
    with pytest.raises(UsageError, match="pond is a multi-label dataset, which the trainer patient cannot use"):
        several.plan("pond-patient")
    with pytest.raises(UsageError, match="balance cannot be used with pond"):
        several.plan("pond", {"balance": 0.5})


def test_plans_written_before_tasks_existed_are_single_label(pond: Registry) -> None:
    fields = pond.plan("pond").model_dump(mode="json")
    del fields["dataset"]["task"]
    assert Plan.model_validate(fields).task == "single-label"


def test_all_bad_overrides_are_listed_with_the_closest_key(pond: Registry) -> None:
    with pytest.raises(UsageError) as raised:
        pond.plan("pond", {"epoch": 3, "optimizer.lr": -1, "batch_size": "many"})
    text = str(raised.value)
    assert "epoch: unknown key; did you mean 'epochs'?" in text
    assert "optimizer.lr: Input should be greater than 0 (given: -1)" in text
    assert "batch_size: Input should be a valid integer" in text


def test_a_trainers_own_settings_are_checked(pond: Registry) -> None:
    with pytest.raises(UsageError) as raised:
        pond.plan("pond-patient", {"settings.checkpoint_evry": 3})
    assert "settings.checkpoint_evry: unknown key; did you mean 'settings.checkpoint_every'?" in str(raised.value)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("lr", "lr: unknown key; did you mean 'optimizer.lr'?"),
        ("optimizer.learning_rate", "the keys here are optimizer.lr, optimizer.name, optimizer.weight_decay"),
        ("optimizer.lrr", "optimizer.lrr: unknown key; did you mean 'optimizer.lr'?"),
    ],
)
def test_an_unknown_key_suggests_one_that_can_be_typed(pond: Registry, key: str, answer: str) -> None:
    with pytest.raises(UsageError) as raised:
        pond.plan("pond", {key: 0.1})
    assert answer in str(raised.value)
    assert "optimizer.adam" not in str(raised.value)


@pytest.mark.parametrize("name", ["fashon-cnn", "super-net", "timm/resnt", "fashion-cnn"])
def test_packages_of_unknown_names_are_never_suggested(pond: Registry, name: str) -> None:
    with pytest.raises(UnknownName) as raised:
        pond.plan("pond", {"model": name})
    assert raised.value.fix == "zoo list"


def test_a_missing_distribution_of_this_project_is_suggested(pond: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_core.registry.registry.installed", list)
    with pytest.raises(UnknownName, match="no model named 'fashion-cnn'") as raised:
        pond.plan("fashion-cnn")
    assert raised.value.fix == "pip install zoo-fashion-cnn"
    with pytest.raises(UnknownName) as raised:
        pond.model("timm/resnet50.a1_in1k")
    assert raised.value.fix == "pip install zoo-timm"


def test_a_users_file_adds_recipes(tmp_path: Path) -> None:
    file = tmp_path / "zoo.toml"
    file.write_text(f"schema = 1\n[recipes.mine]\n{RECIPE}")
    assert with_file(file).plan("mine").recipe.epochs == 1


def test_every_fault_of_a_file_is_named_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "zoo.toml"
    file.write_text(f"schema = 1\nrecipe = 1\n[recipes.a]\n{RECIPE}epoch = 2\n[recipes.B]\n{RECIPE}")
    with pytest.raises(UsageError) as raised:
        with_file(file)
    text = str(raised.value)
    assert str(file) in text
    assert "recipe: unknown key; did you mean 'recipes'?" in text
    assert "recipes.a.epoch: unknown key; did you mean 'recipes.a.epochs'?" in text
    assert "recipes.B" in text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"schema = 1\n[recipes\n", "line 2"),
        (b"schema = 2\n", "schema: Input should be 1"),
        (b"", "schema: Field required"),
        (b"\xff\xfe", "decode"),
        (b"#" * 1_000_001, "too large"),
        (b"schema = 1\nrecipes = 3\n", "recipes"),
        (b"schema = 1\n[recipes]\nx = 3\n", "recipes.x"),
    ],
)
def test_a_file_that_is_not_a_registry_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "zoo.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=why):
        read_registry(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.toml cannot be read"):
        read_registry(tmp_path / "nowhere.toml")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, 4000))
def test_a_damaged_registry_gives_a_usage_error_or_a_registry(tmp_path: Path, junk: bytes, at: int) -> None:
    good = packaged_registry().read_bytes()
    file = tmp_path / "zoo.toml"
    file.write_bytes(good[:at] + junk + good[at + len(junk) :])
    try:
        read_registry(file)
    except UsageError as error:
        assert str(file) in str(error)


def test_the_same_name_twice_is_a_problem_that_names_both_places(tmp_path: Path) -> None:
    file = tmp_path / "zoo.toml"
    file.write_text(f"schema = 1\n[recipes.pond]\n{RECIPE}")
    loaded = with_file(file)
    (problem,) = loaded.problems
    assert problem.subject == str(file)
    assert "'pond'" in problem.cause
    assert "zoo-pond 1.2.3" in problem.cause
    assert loaded.recipes["pond"].epochs == 2


def test_models_are_listed_by_glob(pond: Registry) -> None:
    assert list_models(registry=pond) == ["alexnet", "pond-net"]
    assert list_models("*net", registry=pond) == ["alexnet", "pond-net"]
    assert list_models("pond*", registry=pond) == ["pond-net"]
    assert list_models("nd-n", registry=pond) == ["pond-net"]


def test_a_registry_is_a_snapshot(pond: Registry) -> None:
    with pytest.raises(TypeError):
        pond.models["x"] = pond.models["pond-net"]  # type: ignore[index]
