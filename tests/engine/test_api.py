"""The Python interface: loading, predicting, evaluating and training without the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import zoo_core as zoo
from zoo_core import IntegrityError, Registry, RunResult, Store, UsageError
from zoo_core.engine.models.summary import layers_in
from zoo_core.events import EpochResult, Progress

RED = Image.new("RGB", (9, 9), (220, 40, 40))


@pytest.fixture
def result(pond: Registry, store: Store, tmp_path: Path) -> RunResult:
    return zoo.run("pond", epochs=2, precision="float32", out=tmp_path / "runs", registry=pond, store=store)


@pytest.fixture
def given(pond: Registry, store: Store) -> dict[str, Any]:
    return {"registry": pond, "store": store}


def test_a_run_is_loaded_for_plain_pytorch(result: RunResult, given: dict[str, Any]) -> None:
    loaded = zoo.load(result.directory, **given)
    assert type(loaded.model).__name__ == "PondNet"
    assert not loaded.model.training
    with torch.inference_mode():
        logits = loaded.model(loaded.transform(RED).unsqueeze(0))
    assert logits.shape == (1, len(loaded.classes))
    assert loaded.card.name == "pond-net"
    assert "3 classes (ducks, frogs, newts), 8 × 8" in repr(loaded)


def test_create_model_and_transforms_accept_a_run(result: RunResult, given: dict[str, Any], pond: Registry) -> None:
    trained, loaded = zoo.create_model(result.directory, **given), zoo.load(result.directory, **given).model
    assert all(map(torch.equal, trained.state_dict().values(), loaded.state_dict().values()))
    images = zoo.transforms(result.directory, registry=pond)(RED).unsqueeze(0)
    assert zoo.create_model(result.directory, num_classes=0, **given)(images).shape == (1, 8)
    fresh = zoo.create_model(result.directory, num_classes=7, **given)
    assert fresh(images).shape == (1, 7)
    assert torch.equal(fresh.conv.weight, trained.conv.weight)


@pytest.mark.parametrize(
    "images", [RED, [RED], np.asarray(RED), [np.asarray(RED)[..., 0]], "pets", "pets/a.png", [Path("pets/a.png")]]
)
def test_predict_accepts_what_an_image_can_be(result: RunResult, given: dict[str, Any], images: Any) -> None:
    Path("pets").mkdir()
    RED.save("pets/a.png")
    (prediction,) = zoo.predict(result.directory, images, **given)
    assert prediction.label in ("ducks", "frogs", "newts")


@pytest.mark.parametrize("images", [[torch.zeros(3, 9, 9)], np.zeros((9, 9, 3)), [3], "https://example.com/c.png"])
def test_predict_refuses_what_is_not_an_image(result: RunResult, given: dict[str, Any], images: Any) -> None:
    with pytest.raises(UsageError, match=r"is not an image|is a URL"):
        zoo.predict(result.directory, images, **given)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_image_takes_one_forward_pass(
    result: RunResult, given: dict[str, Any], precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = zoo.load(result.directory, precision=precision, **given)
    calls, kind = [], type(predictor.model)
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, images: calls.append(len(images)) or forward(self, images))
    zoo.predict(predictor, RED)
    assert calls == [1]


def test_outputs_that_are_not_finite_are_refused(result: RunResult, given: dict[str, Any]) -> None:
    predictor = zoo.load(result.directory, **given)
    nn.init.constant_(predictor.model.fc.bias, float("nan"))
    with pytest.raises(IntegrityError, match="probabilities that are not finite"):
        zoo.predict(predictor, RED)


def test_evaluate_names_model_data_and_precision(result: RunResult, given: dict[str, Any]) -> None:
    evaluation = zoo.evaluate(result.directory, precision="float32", **given)
    assert evaluation.accuracy == pytest.approx(result.metrics["test_accuracy"])
    assert (evaluation.data, evaluation.precision) == ("pond.drawn (test)", "float32")
    assert evaluation.model.startswith("run ")
    assert "on 12 images: accuracy" in repr(evaluation)
    assert evaluation.to_dict()["classes"][0]["name"] == "ducks"


def test_results_are_records_for_a_table(result: RunResult, given: dict[str, Any]) -> None:
    assert [epoch["epoch"] for epoch in result.history] == [1, 2]
    assert result.to_dict()["history"][0].keys() >= {"epoch", "loss", "train_accuracy"}
    assert str(result.directory) in repr(result)
    assert "<table>" in result._repr_html_()
    record = zoo.predict(result.directory, RED, **given)[0].to_dict()
    assert record.keys() == {"image", "label", "probability", "ducks", "frogs", "newts"}


def test_progress_is_shown_where_it_is_asked_for(
    pond: Registry, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[Any] = []
    options: dict[str, Any] = {"epochs": 1, "out": tmp_path, "registry": pond, "store": store}
    zoo.run("pond", **options)
    assert capsys.readouterr().err == ""
    zoo.run("pond", on_event=events.append, progress=True, **options)
    assert "epoch 1/1   loss" in capsys.readouterr().err
    assert any(isinstance(event, EpochResult) for event in events)


def test_predicting_reports_its_progress(result: RunResult, given: dict[str, Any]) -> None:
    events: list[Any] = []
    zoo.predict(result.directory, [RED, RED], on_event=events.append, **given)
    assert events[-1] == Progress("predicting", 2, 2, "images")


def test_a_folder_is_a_dataset_for_a_data_loader(pond: Registry, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        for name in ("cats", "dogs"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / f"{number}.png")
    transform = zoo.transforms("pond-net", registry=pond)
    images = zoo.load_dataset(tmp_path / "pets", transform=transform, registry=pond)
    assert images.classes == ("cats", "dogs")
    batch, labels = next(iter(DataLoader(images, batch_size=6)))  # type: ignore[arg-type]  # map-style by duck typing
    assert (batch.shape, labels.tolist()) == ((6, 3, 8, 8), [0, 0, 0, 1, 1, 1])


def test_resume_continues_the_newest_unfinished_run(pond: Registry, store: Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path, "registry": pond, "store": store}
    first = zoo.run("pond", epochs=1, resume="auto", **options)
    with pytest.raises(UsageError, match="has finished"):
        zoo.run(resume=first.directory, **options)
    with pytest.raises(UsageError, match="no recipe given"):
        zoo.run(resume="auto", **options)


def test_names_of_other_kinds_are_not_recipes(pond: Registry) -> None:
    with pytest.raises(UsageError, match=r"pond-net is a model, not a recipe(.|\n)*--set model=pond-net"):
        zoo.run("pond-net", registry=pond)
    other = replace(pond, tables={**pond.tables, "recipes": {k: v for k, v in pond.recipes.items() if k != "pond"}})
    with pytest.raises(UsageError, match=r"pond is a dataset, not a recipe(.|\n)*zoo run pond-features"):
        zoo.run("pond", registry=other)


def test_parameters_of_layers_with_children_are_counted(pond: Registry) -> None:
    class Normalized(nn.BatchNorm2d):
        """As timm's BatchNormAct2d: parameters, and children."""

        def __init__(self) -> None:
            super().__init__(4)
            self.act = nn.ReLU()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.act(super().forward(inputs))

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Normalized()).eval()
    layers = layers_in(model, pond.model("pond-net").input)
    assert sum(layer.parameters for layer in layers.layers) == layers.parameters
    assert ("1", 8, "2 × 4 = 8") in [(layer.path, layer.parameters, layer.arithmetic) for layer in layers.layers]
