"""Wilson intervals, balanced accuracy and macro-F1 agree with SciPy and scikit-learn."""

from __future__ import annotations

import random
import warnings

import pytest

from zoo_core import Predictions, PredictionTable
from zoo_core.metrics import SplitCounts, higher_is_better, intervals, is_accuracy, measured_split, wilson


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # Newcombe, Two-sided confidence intervals for the single proportion (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_as_published(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_intervals_agree_with_scipy() -> None:
    from scipy.stats import binomtest

    for correct, total in [(0, 1), (1, 1), (116, 120), (1, 7), (5000, 10000), (10000, 10000)]:
        expected = binomtest(correct, total).proportion_ci(0.95, method="wilson")
        assert wilson(correct, total) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_without_images_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def table(labels: list[int], predicted: list[int], classes: int) -> PredictionTable:
    rows = tuple(tuple(float(k == answer) for k in range(classes)) for answer in predicted)
    names = tuple(map(str, range(len(labels))))
    return PredictionTable.of(Predictions(names, tuple(labels), rows), tuple(map(str, range(classes))))


@pytest.mark.parametrize("seed", range(20))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    """Uneven classes; some have no images, and some are never predicted."""
    from sklearn.metrics import balanced_accuracy_score, f1_score

    draw = random.Random(seed)
    classes, images = draw.randint(2, 12), draw.randint(1, 60)
    weights = [draw.random() ** 3 for _ in range(classes)]
    labels = draw.choices(range(classes), weights, k=images)
    predicted = [label if draw.random() < 0.6 else draw.randrange(classes) for label in labels]
    ours = table(labels, predicted, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is predicted has no images
        assert ours.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
        assert ours.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert ours.majority == max(map(labels.count, labels)) / images


@pytest.mark.parametrize("logits", [1, 2, 5])
def test_a_loop_measures_what_the_table_of_its_predictions_does(logits: int) -> None:
    import torch

    from tests.engine.recorded_examples import RecordedExamples
    from zoo_core.engine.training.examples import EvaluatedExamples

    examples = RecordedExamples()
    evaluated = EvaluatedExamples(examples, torch.randn(14, logits, generator=torch.Generator().manual_seed(logits)))
    found = PredictionTable.of(evaluated.predictions, tuple(map(str, range(max(2, logits)))))
    metrics = evaluated.metrics
    assert metrics.pop("loss") == evaluated.loss
    assert metrics == pytest.approx(found.metrics)


def test_an_empty_table_has_metrics_of_zero() -> None:
    empty = table([], [], 3)
    assert empty.metrics == {"accuracy": 0.0, "balanced_accuracy": 0.0, "macro_f1": 0.0}
    assert (empty.majority, empty.accuracy_interval) == (0.0, (0.0, 1.0))


def test_only_accuracies_on_images_not_trained_on_have_intervals() -> None:
    splits = {split: SplitCounts(100, {"a": 60, "b": 40}) for split in ("train", "validation")}
    names = ("train_accuracy", "validation_accuracy", "validation_accuracy_augmented", "validation_macro_f1", "loss")
    measured = {**dict.fromkeys(names, 0.9), "test_accuracy": 0.9}
    assert intervals(measured, splits) == dict.fromkeys(names[1:3], wilson(90, 100))
    assert splits["train"].majority == 0.6
    assert SplitCounts(100, {"a": 60, "b": 90}, multi_label=True).majority is None


def test_which_metrics_are_accuracies_and_which_way_is_better() -> None:
    assert [is_accuracy(name) for name in ("test_accuracy", "accuracy", "validation_balanced_accuracy")] == [1, 1, 0]
    assert [measured_split(name) for name in ("test_loss", "train_accuracy", "loss")] == ["test", "train", ""]
    names = ("loss", "validation_loss", "validation_macro_f1", "validation_calibration_error", "steps")
    assert [higher_is_better(name) for name in names] == [False, False, True, False, None]
    assert higher_is_better("agreement", {"agreement": "fraction"})
