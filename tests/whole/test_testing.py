"""The checks that a plugin's tests call: installed plugins pass, and broken ones fail with the reason."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_pond
from torch import Tensor, nn
from zoo_pond.trainer import Patient

from tests.conftest import Zoo
from tests.fakes.installation import install, model
from zoo_core import (
    ArrayImages,
    CheckFailed,
    EpochResult,
    File,
    Job,
    PluginError,
    Registry,
    ReportedAccuracy,
    Source,
    Store,
    TrainerCard,
    UnknownName,
    UsageError,
    WeightsCard,
    hookimpl,
    load_registry,
)
from zoo_core.cards.trainers import RECIPE_FIELDS
from zoo_core.cli.checks_table import show_checks
from zoo_core.engine.checks.conformance import trainer_checks
from zoo_core.engine.checks.fixtures import few_images_job
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.weights import save_tensors
from zoo_core.recipes.settings import SGD
from zoo_core.registry.discovery import new_manager
from zoo_core.testing import check_dataset, check_distribution, check_entry_module, check_model, check_trainer

HERE = __name__


def registry_with(**brings: list[Any]) -> Registry:
    manager = new_manager()
    plugin = type("Plugin", (), {})()
    for hook, values in brings.items():

        def implementation(values: list[Any] = values) -> list[Any]:
            return values

        implementation.__name__ = hook
        setattr(plugin, hook, hookimpl(implementation))
    manager.register(plugin, name="zoo-someone 1")
    loaded = load_registry(manager=manager)
    assert not loaded.problems
    return loaded


@pytest.mark.parametrize("name", ["pond-net"])
def test_a_valid_model_passes(name: str, pond: Registry) -> None:
    check_model(name, registry=pond)


@pytest.mark.parametrize("name", ["supervised", "frozen-features", "patient"])
def test_a_valid_trainer_passes(name: str, pond: Registry) -> None:
    check_trainer(name, registry=pond)


def test_fine_tuning_passes_with_a_random_backbone(pond: Registry) -> None:
    check_trainer("finetune", registry=pond, settings={"random_backbone": True})


def test_a_valid_dataset_passes(pond: Registry) -> None:
    check_dataset("pond", registry=pond)


class Net(nn.Module):
    """A small network with faults to choose from."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(1), persistent=False)
        self.fc = nn.Linear(3, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean(dim=(2, 3)))


class Forgets(Net):
    """Has a buffer that counts, and is not saved."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("noise", torch.randn(1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.noise


class Rolls(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(1, device=images.device)


class Counts(Net):
    """Changes a buffer whenever it is used, also in evaluation mode."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("used", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.used += 1
        return super().forward(images)


class Calls(Net):
    def forward(self, images: Tensor) -> Tensor:
        with socket.socket() as one:
            one.connect(("127.0.0.1", 9))
        return super().forward(images)


class Fixed(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(2)


class Halves(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).half()


@pytest.mark.parametrize(
    ("network", "changes", "cause"),
    [
        ("Net", {"parameters": 9}, "parameters: declared = counted: expected 9, found 8"),
        ("Forgets", {}, "logits, saved and loaded: expected the same, found up to"),
        ("Rolls", {}, "logits, computed twice: expected the same, found up to"),
        ("Counts", {}, "backbone after training the head, parameters and buffers: expected unchanged, found changed"),
        ("Calls", {}, "network requests: expected [], found ['socket.connect ('127.0.0.1', 9)'"),
        ("Fixed", {}, "logits for 3 classes: expected (2, 3), found (2, 2)"),
        ("Halves", {}, "type of logits: expected torch.float32, found torch.float16"),
        ("Absent", {}, "parameters and logits: expected no error, found PluginError"),
        ("Net", {"head": "classifier"}, "found AttributeError"),
    ],
)
def test_an_invalid_model_fails(network: str, changes: dict[str, Any], cause: str) -> None:
    card = zoo_pond.zoo_models()[0].model_copy(
        update={
            "name": "net",
            "builder": f"{HERE}:{network}",
            "num_classes": 2,
            "classes": None,
            "parameters": 8,
            "trainable_parameters": None,
            **changes,
        }
    )
    with pytest.raises(CheckFailed) as caught:
        check_model("net", registry=registry_with(zoo_models=[card]))
    assert cause in caught.value.why.replace('"', "'")


def test_the_network_is_available_again_after_a_check(pond: Registry) -> None:
    check_model("pond-net", registry=pond)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


class Odd(ArrayImages):
    def label(self, index: int) -> int:
        return 0

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return "no image", 7

    def name(self, index: int) -> str:
        return "one"


def load_odd(files: object, split: str) -> ArrayImages:
    return Odd(np.zeros((10, 8, 8, 3), np.uint8), np.zeros(10, np.int64), zoo_pond.CLASSES)


def test_an_invalid_dataset_fails() -> None:
    card = zoo_pond.zoo_datasets()[0]
    edition = card.editions[0].model_copy(update={"examples": {"train": 10}})
    odd = card.model_copy(update={"editions": (edition,), "loader": f"{HERE}:load_odd"})
    with pytest.raises(CheckFailed) as caught:
        check_dataset("pond", registry=registry_with(zoo_datasets=[odd]))
    for cause in (
        "train labels without a class: expected [], found [7]",
        "train labels that differ without the image: expected [], found [0]",
        "train images that are not PIL images: expected [], found ['str']",
        "train images with different names: expected 10, found 1",
    ):
        assert cause in caught.value.why


class Idle:
    def fit(self, job: Any, resume: Any) -> Any:
        yield EpochResult(1, 1, {"loss": float("nan")}, 0.0)


class Thaws:
    def fit(self, job: Any, resume: Any) -> Any:
        for parameter in job.model.parameters():
            parameter.data += 1
        yield EpochResult(1, 2, {"loss": 1.0}, 0.0)
        yield EpochResult(2, 2, {"loss": 1.0}, 0.0)


@pytest.mark.parametrize(
    ("trainer", "causes"),
    [
        ("Idle", ["epochs reported", "metrics are finite numbers", "parameters after training: expected changed"]),
        ("Thaws", ["frozen parameters after training: expected unchanged, found changed"]),
        ("Absent", ["training a tiny model: expected no error, found PluginError"]),
    ],
)
def test_an_invalid_trainer_fails(trainer: str, causes: list[str]) -> None:
    card = TrainerCard(
        name="odd",
        summary="s",
        trainer=f"{HERE}:{trainer}",
        settings="zoo_core:FrozenFeaturesSettings",
    )
    with pytest.raises(CheckFailed) as caught:
        check_trainer("odd", registry=registry_with(zoo_trainers=[card]))
    for cause in causes:
        assert cause in caught.value.why


class LearningRateOnly(Patient):
    """Always uses SGD, whatever the recipe says, and neither shuffles nor augments."""

    def fit(self, job: Any, resume: Any = None) -> Any:
        sgd = SGD(name="sgd", lr=job.plan.recipe.optimizer.lr)
        recipe = job.plan.recipe.model_copy(update={"optimizer": sgd})
        yield from super().fit(replace(job, plan=job.plan.model_copy(update={"recipe": recipe})), resume)


def test_a_trainer_that_ignores_recipe_fields_fails() -> None:
    card = zoo_pond.zoo_trainers()[0].model_copy(update={"trainer": f"{HERE}:LearningRateOnly", "uses": RECIPE_FIELDS})
    with pytest.raises(CheckFailed) as caught:
        check_trainer(card.name, registry=registry_with(zoo_trainers=[card]))
    ignored = [field for field in RECIPE_FIELDS if f"with another {field}: " in caught.value.why]
    assert ignored == ["optimizer", "schedule", "augment", "loss", "metrics", "precision", "seed"]


def test_recipe_fields_a_trainer_does_not_use_are_refused(pond: Registry) -> None:
    for change in ({"schedule": "cosine"}, {"seed": 3}, {"precision": "bfloat16"}):
        with pytest.raises(UsageError, match="the trainer patient does not use"):
            pond.plan("pond-patient", change)
    pond.plan("pond-patient", {"batch_size": 4, "optimizer.lr": 0.1})


def weights_card(content: bytes, folder: Path, **changes: Any) -> WeightsCard:
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    source = Source(uri=path.as_uri(), size=len(content), sha256=digest)
    file = File(sources=(source,), size=len(content), sha256=digest)
    fields = {"name": "mine", "covers": "all", "file": file, "license": "CC0-1.0", "provenance": "a test"}
    return WeightsCard(**(fields | changes))


@pytest.mark.parametrize("fault", ["none", "sha256", "classes", "accuracy"])
def test_wrong_weights_are_found(fault: str, tmp_path: Path) -> None:
    model = zoo_pond.zoo_models()[0]
    content = save_tensors(build_model(model, num_classes=2 if fault == "classes" else None).state_dict())
    reported = (ReportedAccuracy(dataset="pond", split="test", n=12, accuracy=0.5),) if fault == "accuracy" else ()
    weights = weights_card(content, tmp_path, reported=reported)
    if fault == "sha256":
        source = weights.file.sources[0].model_copy(update={"sha256": "0" * 64})
        file = weights.file.model_copy(update={"sha256": "0" * 64, "sources": (source,)})
        weights = weights.model_copy(update={"file": file})
    card = model.model_copy(update={"weights": (weights,)})
    registry = registry_with(zoo_models=[card], zoo_datasets=zoo_pond.zoo_datasets())
    if fault == "none":
        return check_model(card.name, registry=registry)
    with pytest.raises(CheckFailed) as caught:
        check_model(card.name, registry=registry)
    expected = {"accuracy": "mine: accuracy on pond.drawn (test): expected 0.5, found "}
    assert expected.get(fault, "weights mine: expected they fit, found ") in caught.value.why
    return None


class Picky(Patient):
    """Knows the classes of the pond only."""

    def fit(self, job: Any, resume: Any = None) -> Any:
        if job.plan.classes != zoo_pond.CLASSES:
            raise UsageError("it teaches pond animals alone")
        yield from super().fit(job, resume)


class Forgetful(Picky):
    """Starts from scratch when it should resume."""

    def fit(self, job: Any, resume: Any = None) -> Any:
        yield from super().fit(job, None)
        if resume is not None:
            next(reversed(list(job.model.parameters()))).data += 1


class Restless(Picky):
    def fit(self, job: Any, resume: Any = None) -> Any:
        for parameter in job.model.parameters():
            parameter.data += 1
        yield from super().fit(job, resume)


class Asks(Picky):
    """Needs a file that would have to be downloaded."""

    def fit(self, job: Any, resume: Any = None) -> Any:
        job.store.fetch(AWAY, "away")
        yield from super().fit(job, resume)


AWAY = File(sources=(Source(uri="https://example.invalid/x", size=1, sha256="0" * 64),), size=1, sha256="1" * 64)


def of_the_pond(trainer: str, *, recipe: bool = True) -> Registry:
    """Return a registry with a trainer that refuses the tiny model, and a recipe for it."""
    card = zoo_pond.zoo_trainers()[0].model_copy(update={"name": "odd", "trainer": f"{HERE}:{trainer}"})
    recipes = [one.model_copy(update={"trainer": "odd"}) for one in zoo_pond.zoo_recipes()[2:] if recipe]
    brings = {"zoo_trainers": [card], "zoo_recipes": recipes}
    return registry_with(**brings, zoo_models=zoo_pond.zoo_models()[:1], zoo_datasets=zoo_pond.zoo_datasets())


def test_a_trainer_that_refuses_the_tiny_model_is_tried_on_recipes() -> None:
    check_trainer("odd", settings={"checkpoint_every": 1}, registry=of_the_pond("Picky"))


@pytest.mark.parametrize(
    ("trainer", "cause"),
    [
        ("Forgetful", "resuming from the first checkpoint (pond-patient): expected the same parameters, found other"),
        ("Restless", "frozen parameters after training (pond-patient): expected unchanged, found changed"),
    ],
)
def test_the_plugins_recipes_find_faults(trainer: str, cause: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        check_trainer("odd", settings={"checkpoint_every": 1}, registry=of_the_pond(trainer))
    assert cause in caught.value.why


def test_invalid_settings_fail() -> None:
    with pytest.raises(CheckFailed, match="checkpoint_every"):
        check_trainer("odd", settings={"checkpoint_every": 0}, registry=of_the_pond("Picky"))


@pytest.mark.parametrize(
    ("trainer", "recipe", "what", "why"),
    [
        ("Asks", True, "training a few images of pond-patient", "away could not be downloaded; checks run offline"),
        ("Picky", False, "its plugin has no recipe for it", "it teaches pond animals alone"),
    ],
)
def test_a_check_that_could_not_be_tried_does_not_fail(
    trainer: str, recipe: bool, what: str, why: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = of_the_pond(trainer, recipe=recipe)
    check_trainer("odd", registry=registry)

    def new_job(changes: Mapping[str, Any]) -> Job:
        return few_images_job(registry.plan("pond-patient", changes), replace(store, offline=True))

    checks = list(trainer_checks(registry.trainers["odd"], {}, {"pond-patient": new_job} if recipe else {}))
    (left,) = [one for one in checks if not one.tried]
    assert what in left.what
    assert (left.found, left.passed) == (why, True)
    show_checks(checks, json=False)
    assert capsys.readouterr().out.splitlines()[-1].endswith("not tried")


def test_a_light_entry_module_passes() -> None:
    check_entry_module("zoo-fashion-cnn")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\n",
            "imports torch: expected False, found",
        ),
        ("import time\ntime.sleep(0.2)\n", "entry module imports: expected under 50 ms, found 2"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_heavy_entry_module_fails(source: str, cause: str, site: Path) -> None:
    install(site, "zoo-heavy", source)
    with pytest.raises(CheckFailed) as caught:
        check_entry_module("zoo-heavy")
    assert cause in caught.value.why


def test_a_plugin_that_is_not_loaded_cannot_be_checked(site: Path, zoo: Zoo) -> None:
    with pytest.raises(UnknownName, match="did you mean 'zoo-fashion-cnn'"):
        check_distribution("zoo-fashon-cnn")
    install(site, "zoo-away", model("away"))
    zoo("plugins", "disable", "zoo-away")
    with pytest.raises(PluginError, match="zoo plugins enable zoo-away"):
        check_distribution("zoo-away")
    zoo("plugins", "enable", "zoo-away")
    install(site, "zoo-ill", "raise ValueError('ill')")
    with pytest.raises(PluginError, match="ValueError: ill"):
        check_distribution("zoo-ill")


def test_plugins_check_prints_passed_and_failed_checks(zoo: Zoo, site: Path) -> None:
    fine = zoo("plugins", "check", "zoo-fashion-cnn")
    assert (fine.code, fine.err) == (0, "")
    assert " NO" not in fine.out
    for what in ("entry module imports torch", "logits, saved and loaded", "network requests"):
        assert what in fine.out
    install(site, "zoo-empty-words", model("empty-words"))
    said = zoo("plugins", "check", "zoo-empty-words", "--json")
    assert said.code == 9
    failed = [one for one in json.loads(said.out) if not one["passed"]]
    assert {one["subject"] for one in failed} == {"empty-words"}
    assert "PluginError" in said.err


def test_importing_zoo_core_testing_does_not_import_torch() -> None:
    program = "import sys, zoo_core.testing\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
