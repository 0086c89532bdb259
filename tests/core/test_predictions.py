"""The table of predictions: its metrics, and its CSV."""

from __future__ import annotations

import csv
import io

import pytest

from zoo_core import Predictions, PredictionTable
from zoo_core.metrics import metric_kind
from zoo_core.predictions import CalibrationBin, ClassResult
from zoo_core.recipes.reference import RecipeReference, ReferenceMetric
from zoo_core.results import Comparison, compare, format_metric

ROWS = Predictions(
    ("a.png", "b.png", "c.png", "d.png"), (0, 0, 1, 1), ((0.95, 0.05), (0.15, 0.85), (0.08, 0.92), (0.45, 0.55))
)
TABLE = PredictionTable.of(ROWS, ("cat", "dog"))


def test_accuracy_and_confusion_are_counted() -> None:
    assert TABLE.accuracy == 0.75
    assert TABLE.confusion == ((1, 1), (0, 2))
    assert TABLE.class_results == (
        ClassResult("cat", images=2, precision=1.0, recall=0.5),
        ClassResult("dog", images=2, precision=2 / 3, recall=1.0),
    )
    assert TABLE.most_confused(5) == [("cat", "dog", 1)]


def test_calibration_compares_confidence_with_accuracy() -> None:
    bins = [CalibrationBin(round(one.confidence, 3), one.accuracy, one.images) for one in TABLE.calibration]
    assert bins == [CalibrationBin(0.55, 1.0, 1), CalibrationBin(0.85, 0.0, 1), CalibrationBin(0.935, 1.0, 2)]
    assert TABLE.calibration_error == pytest.approx((0.45 + 0.85 + 2 * 0.065) / 4)


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    rows = Predictions(("a",), (0,), ((0.9, 0.1, 0.0),))
    table = PredictionTable.of(rows, ("cat", "dog", "owl"))
    assert table.class_results[2] == ClassResult("owl", images=0, precision=None, recall=None)


def test_an_empty_table_has_no_accuracy_to_divide_by_zero() -> None:
    table = PredictionTable.of(Predictions((), (), ()), ("cat", "dog"))
    assert (len(table), table.accuracy, table.calibration_error) == (0, 0.0, 0.0)
    assert PredictionTable.from_csv(table.to_csv()) == table


@pytest.mark.parametrize(
    "name", ["a\rb", "a\nb", "a\r\nb", "\r", 'a"b', "a,b", "=1+1", "+1", "-1", "@x", "\tx", "'=1", "''+1", "'x", ""]
)
def test_any_name_is_read_as_it_was_written(name: str) -> None:
    table = PredictionTable.of(Predictions((name, "x"), (1, 0), ((0.25, 0.75), (0.5, 0.5))), ("ok", name or "class"))
    assert PredictionTable.from_csv(table.to_csv()) == table


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula_to_a_spreadsheet(text: str) -> None:
    table = PredictionTable.of(Predictions((text,), (0,), ((1.0, 0.0),)), (text, "b"))
    cells = [cell for row in csv.reader(io.StringIO(table.to_csv().decode())) for cell in row]
    assert not any(cell[:1] in "=+-@\t" for cell in cells)


def test_the_csv_of_ordinary_names_is_plain() -> None:
    assert TABLE.to_csv().splitlines()[:2] == [
        b"image,label,prediction,p(cat),p(dog)",
        b"a.png,cat,cat,0.950000,0.050000",
    ]


def test_a_prediction_is_read_and_not_derived_from_rounded_probabilities() -> None:
    close = PredictionTable.of(Predictions(("a",), (1,), ((0.49999999, 0.50000001),)), ("cat", "dog"))
    assert PredictionTable.from_csv(close.to_csv()).predicted == (1,)


@pytest.mark.parametrize(
    "content", [b"", b"image\nx\n", b"image,label,prediction,p(a)\nx,a,a,much\n", b"a,b,c,p(d)\nx\n"]
)
def test_what_is_not_a_table_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the reader's
        PredictionTable.from_csv(content)


def test_records_have_the_columns_of_the_csv() -> None:
    assert TABLE.to_records()[0] == {
        "image": "a.png",
        "label": "cat",
        "prediction": "cat",
        "p(cat)": 0.95,
        "p(dog)": 0.05,
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train_accuracy", "fraction"),
        ("validation_accuracy_augmented", "fraction"),
        ("test_loss", "loss"),
        ("loss", "loss"),
        ("inaccuracy_in_metres", "number"),
    ],
)
def test_the_kind_of_a_metric_comes_from_one_table(name: str, kind: str) -> None:
    assert metric_kind(name) == kind


def test_a_trainer_declares_the_kinds_of_its_own_metrics() -> None:
    assert format_metric("agreement", 0.5) == "0.5"
    assert format_metric("agreement", 0.5, {"agreement": "fraction"}) == "50.00 %"


@pytest.mark.parametrize(
    ("reference", "measured", "verdict"),
    [
        (ReferenceMetric(value=0.5313, within=0.15), 0.5, "not comparable"),
        (ReferenceMetric(value=0.5313, within=0.15), 0.9, "no match"),
        (ReferenceMetric(value=0.8130, within=0.15), 0.75, "match"),
        (ReferenceMetric(value=0.8130, within=0.15), None, "not measured"),
        (ReferenceMetric(at_least=0.4), 0.6, "not comparable"),
        (ReferenceMetric(at_least=0.95), 0.5, "no match"),
    ],
)
def test_a_reference_that_chance_would_match_is_not_a_match(
    reference: ReferenceMetric, measured: float | None, verdict: str
) -> None:
    metrics = {} if measured is None else {"validation_accuracy": measured}
    published = RecipeReference(section="", metrics={"validation_accuracy": reference})
    (comparison,) = compare(published, metrics, {"validation": 0.5})
    assert comparison == Comparison("validation_accuracy", reference, measured, 0.5)
    assert (comparison.verdict, comparison.passed) == (verdict, verdict == "match")


def test_an_accuracy_that_equals_its_bound_in_float32_matches() -> None:
    assert Comparison("train_accuracy", ReferenceMetric(at_least=0.872), 0.871999979019165).passed
    assert Comparison("train_accuracy", ReferenceMetric(value=0.9, within=0.1), 0.7999999523162842).passed
    assert not Comparison("train_accuracy", ReferenceMetric(at_least=0.872), 0.8719).passed
