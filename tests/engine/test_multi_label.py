"""Training on images with any number of labels: the loss, the run and its files, predictions, resuming."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo_meadow
from PIL import Image
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F
from zoo_meadow.data import HAZY_COUNTS, MeadowImages, drawn, load

import zoo_core as zoo
from zoo_core import DataError, MultiLabelTable, Recipe, Registry, RunResult, Store, UsageError
from zoo_core.cards.fields import resolve
from zoo_core.data.dataset import load_split
from zoo_core.engine.compute.losses import cross_entropy, probabilities
from zoo_core.engine.compute.macro_f1 import macro_f1
from zoo_core.engine.data.batches import labels_of
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.models.import_weights import import_weights
from zoo_core.engine.training.run import execute
from zoo_core.events import Event, Saved
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.imported_weights import ImportedWeights
from zoo_core.registry.registry import load_registry
from zoo_core.runs.directory import RunDir
from zoo_core.runs.report import render

HEAD = {"precision": "float32", "settings.allow_random": True}
UNUSED = {"optimizer": Recipe.model_fields["optimizer"].get_default(), "epochs": 6}  # by logistic-head


@pytest.fixture(scope="module")
def meadow() -> Registry:
    manager = new_manager()
    manager.register(zoo_meadow, name="zoo-meadow 0.1.0")
    return load_registry(manager=manager)


@pytest.fixture(scope="module")
def trained(meadow: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Store]:
    folder = tmp_path_factory.mktemp("meadow")
    store = Store(folder / "store")
    plan = meadow.plan("meadow", {"precision": "float32"})
    return execute(plan, store=store, out=folder / "runs"), store


def test_labels_are_a_matrix(meadow: Registry, store: Store) -> None:
    card = meadow.dataset("meadow")
    images = load_split(card, card.edition(), "test", store)
    labels = labels_of(images)
    assert (labels.shape, labels.dtype) == ((24, 4), torch.float32)
    assert [tuple(row.nonzero().flatten().tolist()) for row in labels] == [images.label(n) for n in range(24)]
    assert any(not row.any() for row in labels)


def test_the_loss_is_the_mean_binary_cross_entropy_of_every_class() -> None:
    logits, labels = torch.randn(16, 3), torch.randint(0, 2, (16, 3)).float()
    torch.testing.assert_close(cross_entropy(logits, labels), F.binary_cross_entropy(logits.sigmoid(), labels))
    smoothed = F.binary_cross_entropy(logits.sigmoid(), labels * 0.8 + 0.1)
    torch.testing.assert_close(cross_entropy(logits, labels, label_smoothing=0.2), smoothed)
    torch.testing.assert_close(probabilities(logits, multi_label=True), logits.sigmoid())
    with pytest.raises(UsageError, match="the model has 1 output for 3 classes"):
        cross_entropy(torch.randn(16, 1), labels)


def test_a_run_learns_the_labels_and_says_no_accuracy(trained: tuple[RunResult, Store]) -> None:
    result, _ = trained
    assert not any("accuracy" in name for name in result.metrics)
    assert set(result.history[0]) - {"validation_loss"} == {
        "epoch",
        "loss",
        "train_map",
        *(f"validation_{name}" for name in ("map", "macro_f1", "micro_f1", "exact_match")),
    }
    assert result.metrics["test_map"] > 0.85  # about 0.4 by chance
    assert result.metrics["validation_exact_match"] > 0.5


def test_the_metrics_are_those_of_the_saved_predictions(trained: tuple[RunResult, Store]) -> None:
    result, _ = trained
    run = RunDir.open(result.directory)
    for split, name in (("validation", "predictions.csv"), ("test", "test-predictions.csv")):
        table = run.read_predictions(name)
        assert isinstance(table, MultiLabelTable)
        assert {f"{split}_{name}": value for name, value in table.metrics.items()}.items() <= result.metrics.items()
        marks = np.array([[k in labels for k in range(4)] for labels in table.labels])
        expected = average_precision_score(marks[:, :3], np.array(table.probabilities)[:, :3], average="macro")
        assert result.metrics[f"{split}_map"] == pytest.approx(expected, abs=1e-12)
    assert "winged" in table.without_images


def test_thresholds_come_from_the_validation_images(trained: tuple[RunResult, Store]) -> None:
    result, _ = trained
    document = json.loads((result.directory / "thresholds.json").read_text())
    assert document["schema"] == 1
    table = RunDir.open(result.directory).read_predictions()
    assert isinstance(table, MultiLabelTable)
    chosen = MultiLabelTable.of(table, table.classes)
    assert document["thresholds"] == dict(zip(table.classes, chosen.thresholds, strict=True))
    assert document["thresholds"]["winged"] == 0.5


def test_predict_and_eval_use_the_stored_thresholds(
    trained: tuple[RunResult, Store], meadow: Registry, tmp_path: Path
) -> None:
    result, store = trained
    images = drawn(24, seed=3)
    evaluation = zoo.evaluate(result.directory, precision="float32", registry=meadow, store=store)
    assert evaluation.metrics["map"] == pytest.approx(result.metrics["test_map"], abs=1e-6)
    assert evaluation.metrics["micro_f1"] == result.metrics["test_micro_f1"]
    predictions = zoo.predict(
        result.directory,
        [images[n][0] for n in range(24)],
        precision="float32",
        registry=meadow,
        store=store,
    )
    table = evaluation.predictions
    assert isinstance(table, MultiLabelTable)
    assert [set(one.labels) for one in predictions] == [set(table.names_of(row)) for row in table.predicted]
    every = result.directory / "thresholds.json"
    before = every.read_bytes()
    every.write_text(json.dumps({"schema": 1, "thresholds": dict.fromkeys(zoo_meadow.CLASSES, 0.0)}))
    try:
        (all_of_them,) = zoo.predict(result.directory, images[0][0], registry=meadow, store=store)
        assert set(all_of_them.labels) == set(zoo_meadow.CLASSES)
        every.write_text(json.dumps({"schema": 1, "thresholds": {"red": 2}}))
        with pytest.raises(DataError, match=r"thresholds\.json is damaged"):
            zoo.predict(result.directory, images[0][0], registry=meadow, store=store)
    finally:
        every.write_bytes(before)


def test_an_image_set_of_the_other_kind_is_refused(trained: tuple[RunResult, Store], meadow: Registry) -> None:
    result, store = trained
    predictor = Predictor.load(result.directory, meadow, store)
    single = zoo.ArrayImages(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]), predictor.classes)
    require_task = resolve("zoo_core.data.evaluation:require_task")
    with pytest.raises(DataError, match="each image has one label; the model predicts any number"):
        require_task(single, "multi-label")
    with pytest.raises(DataError, match="each image has any number of labels; the model predicts one"):
        require_task(drawn(2, seed=0), "single-label")


def test_the_report_shows_each_class_without_a_confusion_matrix(trained: tuple[RunResult, Store]) -> None:
    page = render(RunDir.open(trained[0].directory))
    for text in ("Mean average precision", "Average precision per class", "Left out, because no image has", "winged"):
        assert text in page
    for text in ("confusion", "calibration", "Accuracy"):
        assert text not in page
    assert "The images with the highest loss" in page


def test_the_worst_images_are_those_with_the_highest_loss(trained: tuple[RunResult, Store]) -> None:
    run = RunDir.open(trained[0].directory)
    table = run.read_predictions("test-predictions.csv")
    assert isinstance(table, MultiLabelTable)
    rows = torch.tensor(table.probabilities)
    marks = torch.tensor([[float(k in labels) for k in range(4)] for labels in table.labels])
    losses = F.binary_cross_entropy(rows, marks, reduction="none").mean(dim=1)
    worst = run.read_json("mistakes.json")["mistakes"][0]
    assert worst["name"] == table.names[int(losses.argmax())]
    assert worst["probability"] == pytest.approx(float((-losses.max()).exp()), rel=1e-5)


@pytest.mark.parametrize("recipe", ["meadow", pytest.param("meadow-features", marks=pytest.mark.slow)])
def test_a_run_killed_in_an_epoch_resumes_to_the_same_bytes(
    meadow: Registry, store: Store, tmp_path: Path, recipe: str
) -> None:
    plan = meadow.plan(recipe, {"epochs": 2})
    straight = execute(plan, store=store, out=tmp_path / "straight").directory
    saved = iter(range(100))

    def die(event: Event) -> None:
        if isinstance(event, Saved) and next(saved) == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(plan, store=store, out=tmp_path / "killed", on_event=die, checkpoint_every=0)
    (directory,) = (path for path in (tmp_path / "killed" / recipe).iterdir() if not path.is_symlink())
    resumed = execute(meadow.plan_again(plan), store=store, resume=RunDir.open(directory)).directory
    for name in (
        "weights.safetensors",
        "predictions.csv",
        "test-predictions.csv",
        "thresholds.json",
        "mistakes.json",
    ):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name
    metrics = [RunDir.open(each).read_json("result.json")["metrics"] for each in (resumed, straight)]
    assert metrics[0] == metrics[1]


def test_exported_weights_bring_their_thresholds(
    trained: tuple[RunResult, Store], meadow: Registry, tmp_path: Path
) -> None:
    result, store = trained
    exported = zoo.export(result.directory, tmp_path / "meadow.safetensors")
    imported = ImportedWeights(tmp_path / "imported")
    import_weights(meadow.model("meadow-net"), exported.path, "mine", imported, input=None, license="CC0-1.0")
    cards, problems = imported.load()
    assert not problems
    assert cards["meadow-net"][0].thresholds == RunDir.open(result.directory).thresholds()
    known = replace(meadow, imported_weights=cards)
    images = [drawn(24, seed=3)[n][0] for n in range(24)]
    options: dict[str, Any] = {"precision": "float32", "registry": known, "store": store}
    theirs = zoo.predict("meadow-net", images, weights="mine", **options)
    assert theirs == zoo.predict(result.directory, images, **options)
    assert theirs[0].several is not None


def test_a_single_output_is_refused_before_anything_is_written(meadow: Registry, store: Store, tmp_path: Path) -> None:
    plan = meadow.plan("meadow", {"model": "meadow-single"})
    with pytest.raises(UsageError, match="the model has 1 output for 4 classes"):
        execute(plan, store=store, out=tmp_path)
    assert not list(tmp_path.rglob("plan.json"))


def test_the_macro_f1_metric_understands_both_kinds_of_labels() -> None:
    logits = torch.tensor([[4.0, -4.0], [4.0, 4.0], [-4.0, -4.0]]).repeat(5, 1)
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]).repeat(5, 1)
    assert macro_f1(logits, labels) == 1.0
    assert macro_f1(logits, 1 - labels) < 0.9


@pytest.mark.slow
def test_a_linear_head_is_as_good_as_scikit_learns_one_against_rest(
    meadow: Registry, store: Store, tmp_path: Path
) -> None:
    """The same features of a random backbone and the same L2 penalty: C = 1 / (decay · images · classes)."""
    strength, classes = 100.0, 4
    decay = 1 / (strength * HAZY_COUNTS["train"] * classes)  # the loss is a mean over images and classes
    changes = {
        "edition": "hazy",
        "epochs": 60,
        "batch_size": 50,
        "optimizer": {"name": "adam", "lr": 1.0, "weight_decay": decay},
        "schedule": "cosine",
        **HEAD,
    }
    plan = meadow.plan("meadow-features", changes)
    result = execute(plan, store=store, out=tmp_path)
    predictor = Predictor.load(result.directory, meadow, store)
    predictor.model.fc = torch.nn.Identity()  # type: ignore[assignment]
    train, test = (_features(predictor, load({"hazy": tmp_path}, split)) for split in ("train", "test"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = OneVsRestClassifier(LogisticRegression(C=strength, max_iter=20_000)).fit(train[0], train[1][:, :3])
    expected = average_precision_score(test[1][:, :3], theirs.decision_function(test[0]), average="macro")
    assert 0.5 < expected < 0.95  # neither chance nor too easy to tell
    print(f"ours {result.metrics['test_map']:.4f}, scikit-learn {expected:.4f}")
    assert result.metrics["test_map"] == pytest.approx(expected, abs=0.005)


@pytest.mark.slow
def test_a_cross_validated_head_is_as_good_as_scikit_learns(meadow: Registry, store: Store, tmp_path: Path) -> None:
    plan = meadow.plan("meadow-features", {"edition": "hazy", "trainer": "logistic-head", **UNUSED, **HEAD})
    result = execute(plan, store=store, out=tmp_path)
    predictor = Predictor.load(result.directory, meadow, store)
    predictor.model.fc = torch.nn.Identity()  # type: ignore[assignment]
    train, test = (_features(predictor, load({"hazy": tmp_path}, split)) for split in ("train", "test"))
    each = LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss", max_iter=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = OneVsRestClassifier(make_pipeline(StandardScaler(), each)).fit(train[0], train[1][:, :3])
    expected = average_precision_score(test[1][:, :3], theirs.decision_function(test[0]), average="macro")
    assert 0.5 < expected < 0.95  # neither chance nor too easy to tell
    print(f"ours {result.metrics['test_map']:.4f}, scikit-learn {expected:.4f}")
    assert result.metrics["test_map"] == pytest.approx(expected, abs=0.005)


def listed(folder: Path) -> Path:
    """Write images and a CSV file that lists them with labels such as `dark;red`."""
    folder.mkdir()
    images, rows = drawn(60, seed=5), ["path,labels"]
    for number in range(len(images)):
        image, labels = images[number]
        image.resize((32, 32), Image.Resampling.NEAREST).save(folder / images.name(number))
        rows.append(f"{images.name(number)},{';'.join(images.classes[label] for label in labels)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.mark.parametrize(("trainer", "changes"), [("logistic-head", UNUSED), ("finetune", {"epochs": 3})])
def test_a_head_by_logistic_regression_learns_labels_from_a_csv_file(
    meadow: Registry, store: Store, tmp_path: Path, trainer: str, changes: dict[str, Any]
) -> None:
    overrides = {"trainer": trainer, "split": {"fraction": 0.3}, **HEAD, **changes}
    where = {"data": listed(tmp_path / "in"), "out": tmp_path / "out", "registry": meadow, "store": store}
    result = zoo.run("meadow-features", overrides=overrides, **where)
    assert not any("accuracy" in name for name in result.metrics)
    measured = [f"validation_{name}" for name in ("map", "macro_f1", "micro_f1", "exact_match")]
    assert {"train_map", "validation_loss", *measured} <= result.metrics.keys()
    assert len({frozenset(epoch) for epoch in result.history}) == 1
    assert result.metrics["validation_map"] > 0.7  # about 0.4 by chance
    if trainer == "logistic-head":
        assert result.metrics["cross_validation_loss"] == pytest.approx(result.metrics["validation_loss"], abs=0.3)
    table = RunDir.open(result.directory).read_predictions()
    assert isinstance(table, MultiLabelTable)
    assert set(table.classes) == {"dark", "red", "striped"}
    assert (result.directory / "thresholds.json").is_file()


def _features(predictor: Predictor, images: MeadowImages) -> tuple[np.ndarray, np.ndarray]:
    pixels = torch.stack([predictor.transform(images[n][0]) for n in range(len(images))])
    with torch.inference_mode():
        return predictor.model(pixels).numpy(), labels_of(images).numpy()
