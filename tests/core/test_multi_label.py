"""The table of multi-label predictions: average precision, thresholds, metrics and CSV."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, f1_score

from zoo_core import MultiLabelTable, Predictions, PredictionTable
from zoo_core.metrics import for_task, metric_kind
from zoo_core.multi_label import (
    DEFAULT_THRESHOLD,
    FEWEST_POSITIVES,
    average_precision,
    best_threshold,
    table_from_csv,
)
from zoo_core.predictions import Prediction
from zoo_core.results import Evaluation, format_metric, words

ROWS = Predictions(
    ("a.png", "b.png", "c.png", "d.png"),
    ((0, 1), (1,), (), (0,)),
    ((0.75, 0.5, 0.125), (0.25, 0.875, 0.0), (0.5, 0.25, 0.25), (0.125, 0.375, 0.0)),
)
TABLE = MultiLabelTable.of(ROWS, ("cat", "dog", "owl"), (0.5, 0.5, 0.5))
SCORES = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), st.booleans()), min_size=1)


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_scikit_learns_also_with_ties(pairs: list[tuple[float, bool]]) -> None:
    scores, positives = zip(*pairs, strict=True)
    ours = average_precision(scores, positives)
    if not any(positives):
        assert ours is None
    else:
        assert ours == pytest.approx(average_precision_score(positives, scores), abs=1e-12)


def test_the_mean_leaves_out_classes_without_positives_and_names_them() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    scores = np.array(ROWS.probabilities)
    both = [average_precision_score(labels[:, k], scores[:, k]) for k in (0, 1)]
    assert TABLE.mean_average_precision == pytest.approx(sum(both) / 2)
    assert TABLE.mean_average_precision < 1
    assert TABLE.without_images == ("owl",)
    assert TABLE.class_results[2].average_precision is None


def test_metrics_equal_scikit_learns_at_the_thresholds() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    predicted = np.array(ROWS.probabilities) >= 0.5
    metrics = TABLE.metrics
    assert list(metrics) == ["map", "macro_f1", "micro_f1", "exact_match"]
    assert metrics["micro_f1"] == pytest.approx(f1_score(labels, predicted, average="micro", zero_division=0))
    present = f1_score(labels[:, :2], predicted[:, :2], average="macro")  # no image has an owl, and none is predicted
    assert metrics["macro_f1"] == pytest.approx(present)
    assert metrics["exact_match"] == 0.5
    cat = TABLE.class_results[0]
    assert (cat.images, cat.true_positives, cat.false_positives, cat.false_negatives) == (2, 1, 1, 1)
    assert (cat.precision, cat.recall, cat.f1, cat.threshold) == (0.5, 0.5, 0.5, 0.5)


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=10, max_size=40))
@settings(max_examples=30, deadline=None)
def test_no_other_threshold_has_a_higher_f1(pairs: list[tuple[float, bool]]) -> None:
    scores, positives = map(list, zip(*pairs, strict=True))
    chosen = best_threshold(scores, positives)
    if sum(positives) < FEWEST_POSITIVES:
        assert chosen == DEFAULT_THRESHOLD
        return

    def f1(threshold: float) -> float:
        predicted = [score >= threshold for score in scores]
        return 2 * sum(map(bool.__and__, predicted, positives)) / (sum(predicted) + sum(positives))

    assert f1(chosen) == pytest.approx(max(map(f1, {*scores, 0.0})))


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_chosen() -> None:
    assert best_threshold([0.9] * 5 + [0.1] * 5, [True] * 5 + [False] * 5) == pytest.approx(0.5)
    assert best_threshold([0.9] * 5 + [0.8] * 5, [True] * 5 + [False] * 5) == pytest.approx(0.85)
    assert best_threshold([0.9] * 4 + [0.8] * 5, [True] * 4 + [False] * 5) == DEFAULT_THRESHOLD


NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), min_size=1, unique=True)


@given(st.data(), NAMES)
@settings(max_examples=30, deadline=None)
def test_the_csv_can_be_read_back_exactly(data: st.DataObject, classes: list[str]) -> None:
    image = st.sets(st.integers(0, len(classes) - 1)).map(lambda chosen: tuple(sorted(chosen)))
    labels = data.draw(st.lists(image, max_size=5))
    row = st.tuples(*[st.floats(0, 1, width=32)] * len(classes))
    rows = data.draw(st.lists(row, min_size=len(labels), max_size=len(labels)))
    names = tuple(data.draw(st.lists(st.text(max_size=5), min_size=len(labels), max_size=len(labels))))
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return
    table = MultiLabelTable.of(Predictions(names, tuple(labels), tuple(rows)), classes)
    assert table_from_csv(table.to_csv()) == table


def test_labels_in_the_csv_are_joined_by_semicolons_which_names_escape() -> None:
    table = MultiLabelTable.of(Predictions(("a", "b"), ((0, 1), ()), ((1.0, 1.0), (0.0, 0.0))), ("a;b\\", "=1"))
    header, first, second = table.to_csv().decode().splitlines()
    assert header == "image,labels,predictions,p(a;b\\),p(=1)"
    assert first == "a,a\\;b\\\\;=1,a\\;b\\\\;=1,1,1"
    assert second == "b,,,0,0"
    assert table.to_records()[0]["labels"] == ("a;b\\", "=1")


@pytest.mark.parametrize(
    "content", [b"", b"image,labels,predictions\n", b"image,labels,predictions,p(a)\nx,b,b,1\n", b"a,b\n1\n"]
)
def test_anything_else_is_not_a_table(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"not|unpack"):
        table_from_csv(content)


def test_a_single_label_table_is_still_read_as_one() -> None:
    single = PredictionTable.of(Predictions(("a",), (1,), ((0.25, 0.75),)), ("labels", "cat;dog"))
    assert table_from_csv(single.to_csv()) == single


def test_an_evaluation_has_no_accuracy() -> None:
    evaluation = Evaluation(0.5, TABLE, "m", "d", "float32")
    fields = evaluation.to_dict()
    assert "accuracy" not in fields
    assert "confusion" not in fields
    assert fields["map"] == TABLE.mean_average_precision
    assert fields["without_images"] == ("owl",)
    assert fields["classes"][0]["threshold"] == 0.5
    assert "mAP" in repr(evaluation)
    with pytest.raises(Exception, match="have no accuracy"):
        _ = evaluation.accuracy


def test_a_prediction_has_all_labels_above_their_thresholds() -> None:
    ranking = (("cat", 0.9), ("dog", 0.4), ("owl", 0.3))
    several = Prediction("x.png", ranking, ("cat", "owl"))
    assert several.labels == ("cat", "owl")
    assert several.chosen == (("cat", 0.9), ("owl", 0.3))
    assert several.to_dict() == {"image": "x.png", "labels": ("cat", "owl"), "cat": 0.9, "dog": 0.4, "owl": 0.3}
    assert repr(Prediction("x.png", ranking, ())) == "<Prediction x.png: none>"
    one = Prediction("x.png", ranking)
    assert (one.labels, one.chosen) == (("cat",), (("cat", 0.9),))
    assert repr(one) == "<Prediction x.png: cat 90.00 %>"


def test_the_metric_that_epochs_are_compared_by_depends_on_the_task() -> None:
    assert for_task("validation_accuracy", "multi-label") == "validation_map"
    assert for_task("validation_accuracy_augmented", "multi-label") == "validation_map_augmented"
    assert for_task("validation_accuracy", "single-label") == "validation_accuracy"
    assert for_task("loss", "multi-label") == "loss"
    assert metric_kind("validation_map") == metric_kind("validation_map_augmented") == "fraction"
    assert (words("test_map"), format_metric("test_map", 0.5)) == ("test mAP", "50.00 %")
