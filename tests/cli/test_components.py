"""A plugin's augmentation, optimizer, loss and metric, chosen by name with `zoo run --set`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zoo_pond
import zoo_reeds

from tests.conftest import Zoo
from zoo_core import Component, Registry, Store, UsageError, hookimpl, load_registry
from zoo_core.engine.checks.components import component_checks
from zoo_core.engine.training.run import execute
from zoo_core.errors import IntegrityError
from zoo_core.events import Saved
from zoo_core.recipes.plan import Plan
from zoo_core.registry.discovery import new_manager
from zoo_core.runs.directory import RunDir

ALL = {
    "augment": [{"name": "horizontal-flip"}, {"name": "speckle", "share": 0.2}],
    "optimizer": {"name": "sign-momentum", "lr": 0.01},
    "loss": {"name": "focal", "gamma": 1.5},
    "metrics": ["top2-error", "macro-f1"],
}
SET = [word for key, value in ALL.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def registry_with(*plugins: Any) -> Registry:
    manager = new_manager()
    for plugin in plugins:
        manager.register(plugin, name=f"{plugin.__name__.replace('_', '-')} 1.0")
    return load_registry(manager=manager)


@pytest.fixture(scope="module")
def reeds() -> Registry:
    return registry_with(zoo_pond, zoo_reeds)


@pytest.fixture(autouse=True)
def _with_reeds(monkeypatch: pytest.MonkeyPatch, reeds: Registry) -> None:
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): reeds)


def saved(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def test_a_run_uses_all_four_components(zoo: Zoo) -> None:
    said = zoo("run", "pond", *SET)
    assert said.code == 0, said.err
    run = Path("runs/pond/latest")
    plan, result = saved(run, "plan.json"), saved(run, "result.json")
    assert plan["recipe"]["optimizer"] == {"name": "sign-momentum", "lr": 0.01, "beta": 0.9}
    assert plan["recipe"]["loss"] == {"name": "focal", "gamma": 1.5}
    assert [c["name"] for c in plan["components"]] == ["sign-momentum", "focal", "speckle", "top2-error", "macro-f1"]
    assert 0 <= result["metrics"]["validation_top2_error"] <= 1
    assert 0 <= result["metrics"]["validation_macro_f1"] <= 1
    epoch = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert epoch["kinds"] == {"validation_top2_error": "fraction", "validation_macro_f1": "fraction"}
    assert zoo("reproduce", "runs/pond/latest").code == 0


@pytest.mark.parametrize("key", ALL)
def test_each_component_changes_the_result(key: str, reeds: Registry, store: Store, tmp_path: Path) -> None:
    changed = execute(reeds.plan("pond", {key: ALL[key]}), store=store, out=tmp_path)
    assert changed.metrics != execute(reeds.plan("pond"), store=store, out=tmp_path).metrics


def test_the_plugins_learning_rate_is_the_default(reeds: Registry) -> None:
    assert reeds.plan("pond", {"optimizer": {"name": "sign-momentum"}}).recipe.optimizer.lr == 2e-3
    assert reeds.plan("pond", {"optimizer.name": "sign-momentum", "optimizer.lr": 0.5}).recipe.optimizer.lr == 0.5


@pytest.mark.parametrize("recipe", ["pond", "pond-patient"])
def test_resuming_with_components_is_bit_identical(recipe: str, reeds: Registry, store: Store, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(event: object) -> None:
        if isinstance(event, Saved) and (event.epoch, event.step) == (1, 2):
            raise Killed

    plan = reeds.plan(recipe, ALL if recipe == "pond" else {"optimizer": ALL["optimizer"]})
    straight = execute(plan, store=store, out=tmp_path / "straight")
    with pytest.raises(Killed):
        execute(plan, store=store, out=tmp_path / "cut", on_event=die, checkpoint_every=0)
    (path,) = (path for path in (tmp_path / "cut" / recipe).iterdir() if not path.is_symlink())
    run = RunDir(path)
    resumed = execute(reeds.plan_again(run.plan()), store=store, resume=run)
    weights = [(one.directory / "weights.safetensors").read_bytes() for one in (straight, resumed)]
    assert weights[0] == weights[1]
    assert straight.metrics == resumed.metrics


def test_frozen_features_use_loss_and_metrics(reeds: Registry, store: Store, tmp_path: Path) -> None:
    changes = {key: ALL[key] for key in ("optimizer", "metrics")}
    focal = execute(reeds.plan("pond-features", {**changes, "loss": ALL["loss"]}), store=store, out=tmp_path)
    other = execute(reeds.plan("pond-features", changes), store=store, out=tmp_path)
    assert "validation_top2_error" in focal.metrics
    assert focal.metrics != other.metrics


def test_label_smoothing_is_a_setting_of_cross_entropy(reeds: Registry, store: Store, tmp_path: Path) -> None:
    smoothed = execute(reeds.plan("pond", {"loss.label_smoothing": 0.3}), store=store, out=tmp_path)
    assert smoothed.metrics["loss"] != execute(reeds.plan("pond"), store=store, out=tmp_path).metrics["loss"]


def test_every_unknown_name_and_bad_setting_is_listed(zoo: Zoo) -> None:
    said = zoo(
        "run",
        "pond",
        *("--set", "loss=focus", "--set", 'metrics=["top2-error", "focal"]'),
        *("--set", 'augment=[{"name": "speckle", "share": 2, "shere": 1}, {"name": "rotatoin"}]'),
        *("--set", 'optimizer={"name": "sign-momentum", "bta": 0.5}'),
    )
    assert said.code == 2
    assert said.err.splitlines() == [
        "Error: recipe 'pond' is not valid",
        "  optimizer.bta: unknown key; did you mean 'optimizer.beta'?",
        "  loss.name: no loss named 'focus'; did you mean 'focal'?",
        "  augment.0.shere: unknown key; did you mean 'augment.0.share'?",
        "  augment.0.share: Input should be less than or equal to 1 (given: 2)",
        "  augment.1.name: no augmentation named 'rotatoin'; did you mean 'rotation'?",
        "  metrics.1.name: 'focal' names a component of kind loss, not metric",
        "Try: zoo list",
    ]


def test_a_trainer_that_does_not_use_the_loss_refuses_it(zoo: Zoo) -> None:
    said = zoo("run", "pond-patient", "--set", "loss=focal")
    assert said.code == 2
    assert "the trainer patient does not use loss" in said.err


def test_an_error_in_a_components_code_names_the_plugin_and_the_line(zoo: Zoo) -> None:
    said = zoo("run", "pond", "--set", 'augment=[{"name": "speckle", "share": 1}]')
    assert said.code == 8
    assert "zoo_reeds raised RuntimeError" in said.err
    assert "components.py:" in said.err
    streamed = zoo(
        *("run", "pond", "--set", 'augment=[{"name": "speckle", "share": 1}]', "--set", "settings.hold_bytes=0")
    )
    assert streamed.code == 8
    assert "components.py:" in streamed.err


def test_metrics_need_validation_images(reeds: Registry, store: Store, tmp_path: Path) -> None:
    from zoo_core.engine.training.metrics import RecipeMetrics

    with pytest.raises(UsageError, match="top2-error cannot be measured"):
        RecipeMetrics.of(reeds.plan("pond", {"metrics": ["top2-error"]}).recipe, {})


def test_a_saved_plan_cannot_name_code(reeds: Registry, pond: Registry) -> None:
    plan = reeds.plan("pond", ALL)
    stored = json.loads(plan.model_dump_json())
    for component in stored["components"]:
        component["build"] = "os:system"
    again = reeds.plan_again(Plan.model_validate(stored))
    assert again.components == plan.components
    assert again.recipe.loss.component.build == "zoo_reeds.components:focal"
    with pytest.raises(UsageError, match="not been looked up"):
        _ = Plan.model_validate(stored).recipe.loss.component
    with pytest.raises((UsageError, IntegrityError)):
        pond.plan_again(plan)


def test_no_component_takes_the_name_of_a_built_in_one() -> None:
    class Greedy:
        __name__ = "greedy"

        @hookimpl
        def zoo_components(self) -> list[Component]:
            return [Component(kind="optimizer", name="adam", summary="s", build="m:f")]

    registry = registry_with(Greedy())
    assert "adam" not in registry.components
    assert "that name belongs to zoo-core" in registry.problems[0].cause


def test_list_show_and_plugins_name_components(zoo: Zoo) -> None:
    assert "top2-error" in zoo("list").out
    assert {c["name"]: c["kind"] for c in json.loads(zoo("list", "focal", "--json").out)["components"]} == {
        "focal": "loss"
    }
    assert "loss.gamma" in zoo("show", "focal").out
    assert "loss.label_smoothing" in zoo("show", "pond").out
    assert "components: speckle, sign-momentum, focal, top2-error" in " ".join(zoo("plugins").out.split())


@pytest.mark.parametrize("card", zoo_reeds.zoo_components(), ids=lambda card: card.name)
def test_components_pass_their_checks(card: Component) -> None:
    checks = list(component_checks(card))
    assert len(checks) > 1
    assert [check for check in checks if not check.passed] == []


HERE = "tests.cli.test_components"


class NumpyNoise:
    """Draws from a generator that is not PyTorch's."""

    def __call__(self, image: Any) -> Any:
        import numpy as np
        import torch

        noise = np.random.default_rng().integers(0, 255, image.shape, dtype=np.uint8)
        return torch.from_numpy(noise)


def constant_loss() -> Any:
    return lambda logits, labels: (logits * 0).sum()


def per_image_loss() -> Any:
    return lambda logits, labels: logits.sum(dim=1)


def infinite(logits: Any, labels: Any) -> float:
    return float("inf")


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({"kind": "augmentation", "build": f"{HERE}:NumpyNoise"}, "3-channel images, the same seeds again"),
        ({"kind": "loss", "build": f"{HERE}:constant_loss"}, "gradient is finite and not zero"),
        ({"kind": "loss", "build": f"{HERE}:per_image_loss"}, "as loss"),
        ({"kind": "metric", "build": f"{HERE}:infinite"}, "metric is a finite float"),
        ({"kind": "optimizer", "build": "builtins:sorted"}, "as optimizer"),
    ],
)
def test_an_invalid_component_fails_its_check(fields: Mapping[str, Any], failed: str) -> None:
    checks = component_checks(Component.model_validate({"name": "odd", "summary": "s", **fields}))
    assert failed in [check.what for check in checks if not check.passed]
