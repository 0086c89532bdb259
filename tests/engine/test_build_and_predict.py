from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo_core as zoo
from zoo_core import DataError, File, IntegrityError, ModelCard, PluginError, Registry, Source, Store, UsageError
from zoo_core.cards.models import WeightsSelection
from zoo_core.engine.checks.declared import check, check_model
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.summary import arithmetic, layers_of
from zoo_core.engine.models.weights import load_weights, save_tensors
from zoo_core.images.sources import list_image_files
from zoo_core.recipes.reference import ModelReference, ParameterCounts
from zoo_core.registry.model_index import ModelIndex


def weights_file(path: Path, tensors: dict[str, Tensor], name: str, covers: Any, **more: Any) -> zoo.WeightsCard:
    content = save_tensors(tensors)
    path.write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    source = Source(uri=path.as_uri(), size=len(content), sha256=sha)
    file = File(sources=(source,), size=len(content), sha256=sha)
    return zoo.WeightsCard(name=name, covers=covers, file=file, license="CC0-1.0", provenance="a test", **more)


@pytest.fixture
def card(pond: Registry, tmp_path: Path) -> ModelCard:
    """A backbone with two weights of different preprocessing, and a head that was trained on the second."""
    card = pond.model("pond-net")
    torch.manual_seed(5)
    state = build_model(card).state_dict()
    backbone = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    head = {name: tensor for name, tensor in state.items() if name.startswith("fc.")}
    larger = card.input.model_copy(update={"size": 16})
    return card.model_copy(
        update={
            "weights": (
                weights_file(tmp_path / "1", {k: v * 0 for k, v in backbone.items()}, "zeros", "backbone"),
                weights_file(tmp_path / "2", backbone, "random", "backbone", input=larger),
                weights_file(tmp_path / "3", head, "pond-head", "head", backbone="random"),
            )
        }
    )


@pytest.fixture
def registry(pond: Registry, card: ModelCard) -> Registry:
    return replace(pond, tables={**pond.tables, "models": ModelIndex({**pond.models, "pond-net": card}, {})})


def test_a_backbone_is_loaded_below_a_fresh_head(card: ModelCard, store: Store) -> None:
    model = build_model(card)
    head = model.fc.weight.clone()
    load_weights(model, card.select("pretrained", "fresh"), store)
    assert not model.conv.weight.any()
    assert torch.equal(model.fc.weight, head)


def test_pretrained_weights_are_backbone_and_head(registry: Registry, store: Store) -> None:
    torch.manual_seed(5)
    same = build_model(registry.model("pond-net"))
    model = zoo.create_model("pond-net", weights="pretrained", registry=registry, store=store)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))
    assert not model.training


def test_preprocessing_belongs_to_the_weights(registry: Registry) -> None:
    image = Image.new("RGB", (20, 20))
    assert zoo.transforms("pond-net", registry=registry)(image).shape == (3, 8, 8)
    assert zoo.transforms("pond-net", weights="random", registry=registry)(image).shape == (3, 16, 16)


def test_a_head_for_other_classes_is_fresh_and_logged(
    registry: Registry, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match='head="fresh" puts a new one on the backbone'):
        zoo.create_model("pond-net", weights="pretrained", head="keep", num_classes=4, registry=registry, store=store)
    model = zoo.create_model("pond-net", weights="pretrained", num_classes=4, registry=registry, store=store)
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 4)
    assert "the head is randomly initialized (the weights have 3 classes)" in caplog.text


def test_a_fresh_head_that_was_asked_for_is_not_logged(
    registry: Registry, card: ModelCard, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(5)
    unrelated = build_model(card).fc.weight
    model = zoo.create_model("pond-net", weights="pond-head", head="fresh", registry=registry, store=store)
    assert not torch.equal(model.fc.weight, unrelated)
    assert caplog.text == ""


def test_no_classes_means_no_head(registry: Registry, store: Store) -> None:
    model = zoo.create_model("pond-net", weights="pretrained", num_classes=0, registry=registry, store=store)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 8)
    with pytest.raises(UsageError, match="num_classes is -1"):
        zoo.create_model("pond-net", num_classes=-1, registry=registry)


def test_unknown_builder_options_are_named(registry: Registry) -> None:
    with pytest.raises(UsageError, match="unexpected keyword argument 'depth'"):
        zoo.create_model("pond-net", options={"depth": 3}, registry=registry)


def test_a_builder_that_returns_no_module_is_a_plugin_error(card: ModelCard) -> None:
    with pytest.raises(PluginError, match="returned a dict"):
        build_model(card.model_copy(update={"builder": "builtins:dict"}))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("conv.weight"), "missing conv.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "unknown extra"),
        (lambda t: t.update({"conv.weight": torch.zeros(1)}), "size mismatch for conv.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    card: ModelCard, store: Store, tmp_path: Path, change: Any, why: str
) -> None:
    tensors = {k: v for k, v in build_model(card).state_dict().items() if not k.startswith("fc.")}
    change(tensors)
    wrong = weights_file(tmp_path / "w", tensors, "wrong", "backbone")
    with pytest.raises(PluginError, match=why):
        load_weights(build_model(card), WeightsSelection(card, (wrong,)), store)


def test_damaged_weights_are_never_parsed(card: ModelCard, store: Store, tmp_path: Path) -> None:
    wanted = card.select("zeros")
    path = store.import_file(wanted.cards[0].file, [tmp_path / "1"])
    assert path is not None
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="is damaged"):
        load_weights(build_model(card), wanted, store)


def test_a_pickle_in_place_of_weights_is_refused(card: ModelCard, store: Store, tmp_path: Path) -> None:
    content = b"\x80\x04cos\nsystem\n(S'touch /tmp/zoo-canary'\ntR."
    (tmp_path / "p").write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    source = Source(uri=(tmp_path / "p").as_uri(), size=len(content), sha256=sha)
    evil = card.weights[0].model_copy(update={"file": File(sources=(source,), size=len(content), sha256=sha)})
    with pytest.raises(IntegrityError, match="not a safetensors file"):
        load_weights(build_model(card), WeightsSelection(card, (evil,)), store)
    assert not Path("/tmp/zoo-canary").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(["b.png", "a.JPG", "deep/c.webp"]):
        pixels = np.full((9, 9, 3), 50, np.uint8)
        pixels[..., number] = 220
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_folders_images_are_found_in_order(folder: Path) -> None:
    assert [p.relative_to(folder).as_posix() for p in list_image_files(folder)] == ["a.JPG", "b.png", "deep/c.webp"]
    assert list_image_files(folder / "b.png") == [folder / "b.png"]
    with pytest.raises(DataError, match="does not exist"):
        list_image_files(folder / "x.png")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="contains no images"):
        list_image_files(folder / "empty")


@pytest.mark.parametrize("recipe", ["pond", "pond-features"])
def test_a_loaded_run_predicts_what_the_run_recorded(pond: Registry, store: Store, tmp_path: Path, recipe: str) -> None:
    """Loaded again, the model predicts for each validation image exactly what the run wrote to predictions.csv."""
    plain = {"precision": "float32"}
    result = zoo.run(recipe, epochs=4, lr=0.05, overrides=plain, out=tmp_path / "runs", registry=pond, store=store)
    predictor = zoo.load(result.directory, precision="float32", registry=pond, store=store)
    images = zoo.load_dataset("pond", "validation", registry=pond, store=store)
    found = list(predictor.predict_each([(images.name(i), lambda i=i: images[i][0]) for i in range(len(images))]))
    _, *lines = (result.directory / "predictions.csv").read_text().splitlines()
    assert [(p.image, p.label) for p in found] == [(line.split(",")[0], line.split(",")[2]) for line in lines]
    right = sum(p.label == images.classes[images[i][1]] for i, p in enumerate(found))
    assert right / len(found) == pytest.approx(result.metrics["validation_accuracy"])
    assert sum(probability for _, probability in found[0].ranking) == pytest.approx(1, abs=1e-5)


def test_a_run_on_a_frozen_backbone_only_saves_its_head(registry: Registry, store: Store, tmp_path: Path) -> None:
    result = zoo.run(
        "pond-features", overrides={"weights": "random"}, out=tmp_path / "runs", registry=registry, store=store
    )
    from safetensors.torch import load_file

    assert set(load_file(result.directory / "weights.safetensors")) == {"fc.weight", "fc.bias"}
    picture = Image.new("RGB", (9, 9), (220, 50, 50))
    (prediction,) = Predictor.load(result.directory, registry, store).predict_each([("x", lambda: picture)])
    assert prediction.image == "x"


def test_published_weights_classify_images(registry: Registry, store: Store, folder: Path) -> None:
    found = zoo.predict("pond-net", folder, registry=registry, store=store)
    assert [Path(p.image).name for p in found] == ["a.JPG", "b.png", "c.webp"]
    assert {label for label, _ in found[0].ranking} == {"ducks", "frogs", "newts"}


def test_a_model_without_weights_suggests_training(pond: Registry, store: Store, folder: Path) -> None:
    with pytest.raises(UsageError, match="zoo run alexnet"):
        zoo.predict("alexnet", folder, registry=pond, store=store)


def test_a_folder_that_is_not_a_run_is_named(pond: Registry, store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run directory"):
        Predictor.load(tmp_path, pond, store)


def test_code_named_by_a_foreign_run_is_not_used(pond: Registry, store: Store, tmp_path: Path) -> None:
    """Whatever code a plan names, such as torch.hub, only the installed card's code is imported."""
    result = zoo.run("pond", epochs=1, out=tmp_path / "runs", registry=pond, store=store)
    plan = result.directory / "plan.json"
    evil = plan.read_text().replace("zoo_pond.model:PondNet", "torch.hub:load")
    plan.write_text(evil)
    assert type(Predictor.load(result.directory, pond, store).model).__name__ == "PondNet"
    plan.write_text(evil.replace('"parameters": 259', '"parameters": 260'))
    with pytest.raises(IntegrityError, match=r"different pond-net .*\nthey differ in: parameters"):
        Predictor.load(result.directory, pond, store)


def test_a_damaged_plan_is_named(pond: Registry, store: Store, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"recipe": 1}')
    with pytest.raises(DataError, match=r"plan.json cannot be read"):
        Predictor.load(tmp_path, pond, store)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv2d(1, 64, 3), "64 × (3·3·1 + 1) = 640"),
        (nn.Conv2d(8, 16, (1, 7), groups=4, bias=False), "16 × (1·7·2) = 224"),
        (nn.Linear(2304, 128), "128 × (2,304 + 1) = 295,040"),
        (nn.Linear(3, 2, bias=False), "2 × (3) = 6"),
        (nn.BatchNorm2d(32), "2 × 32 = 64"),
        (nn.ReLU(), ""),
    ],
)
def test_how_a_layers_parameters_are_counted(module: nn.Module, text: str) -> None:
    assert arithmetic(module) == text


def test_layers_are_listed_by_path_with_their_shapes(pond: Registry) -> None:
    found = layers_of(pond.model("pond-net"))
    assert [(one.path, one.kind, one.shape, one.parameters) for one in found.layers] == [
        ("conv", "Conv2d", (8, 6, 6), 216),
        ("bn", "BatchNorm2d", (8, 6, 6), 16),
        ("fc", "Linear", (3,), 27),
    ]
    assert found.parameters == 259


def test_a_count_that_is_off_by_one_fails_by_name(pond: Registry) -> None:
    card = pond.model("pond-net")
    good = ModelReference(documented=ParameterCounts(parameters=259, layers={"fc": 27}, shapes={"conv": ((8, 6, 6),)}))
    right = card.model_copy(update={"parameters": 259})
    assert all(one.passed for one in check_model(right, good))
    for wrong, figures, what in [
        (right.model_copy(update={"parameters": 260}), ModelReference(), "parameters: declared = counted"),
        (right.model_copy(update={"trainable_parameters": 28}), ModelReference(), "trainable: declared = counted"),
        (right, ModelReference(documented=ParameterCounts(parameters=258)), "parameters: documented = declared"),
        (right, ModelReference(derived=ParameterCounts(parameters=258)), "parameters: derived = declared"),
        (right, ModelReference(derived=ParameterCounts(layers={"conv": 217})), "conv: derived = counted"),
        (right, ModelReference(derived=ParameterCounts(shapes={"conv": ((8, 8, 8),)})), "conv: output shape"),
        (right, ModelReference(derived=ParameterCounts(layers={"nothing": 1})), "nothing: derived = counted"),
    ]:
        failed = [one for one in check_model(wrong, figures) if not one.passed]
        assert [(one.subject, one.what) for one in failed] == [("pond-net", what)]


def test_a_check_of_everything_covers_what_is_installed(pond: Registry, store: Store) -> None:
    found = list(check(pond, store))
    assert {"pond-net", "alexnet", "pond.drawn", "pond"} <= {one.subject for one in found}
    assert all(one.passed for one in found)
    assert "horses-cnn" not in {one.subject for one in found}  # its plugin is not in this registry
    (plan,) = check(pond, store, "horses-cnn")
    assert not plan.passed
    assert "no model named 'horses-cnn'" in str(plan.found)


def test_an_unknown_name_cannot_be_checked(pond: Registry, store: Store) -> None:
    with pytest.raises(UsageError, match="did you mean 'pond-net'"):
        list(check(pond, store, "pond-nett"))
