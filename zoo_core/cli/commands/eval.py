"""`zoo eval`: accuracy, loss, and the metrics of each class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cards.fields import Split
from zoo_core.cli.console import eprint, is_first_rank, percent, print_json, print_table
from zoo_core.cli.options import DeviceOption, Json, PrecisionOption, WeightsOption, all_names, registry
from zoo_core.multi_label import MultiLabelTable
from zoo_core.results import Evaluation, format_interval, words


def eval_(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(help="A model, or the path of a run or an exported file.", autocompletion=all_names)
    ],
    data: Annotated[Path | None, typer.Option(help="A folder or CSV file of images.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset: NAME or NAME.EDITION.")] = None,
    split: Annotated[
        Split | None,
        typer.Option(
            help="test, validation or train. [default: test, else validation; of unsplit images that the run was not "
            "trained on, all]",
            metavar="SPLIT",
        ),
    ] = None,
    weights: WeightsOption = "pretrained",
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    json: Json = False,
) -> None:
    """Evaluate a model or a run on labeled images."""
    known = registry(context)
    from zoo_core.api.inference import evaluate  # torch is imported here, not before

    evaluation = evaluate(
        target,
        data=data,
        dataset=dataset,
        split=split,
        weights=weights,
        precision=precision,
        device=device,
        progress=True,
        registry=known,
    )
    if not is_first_rank():
        return
    eprint(f"Using {evaluation.model} on {evaluation.measured_on}")
    print_json(_as_json(evaluation)) if json else print_evaluation(evaluation)


def _as_json(evaluation: Evaluation) -> dict[str, object]:
    fields = evaluation.to_dict()
    return {"model": fields.pop("model"), "images": fields.pop("data"), "n": fields.pop("images"), **fields}


def print_evaluation(evaluation: Evaluation) -> None:
    """Print accuracy and loss, a row for each class, and the confusion matrix; of multi-label images a longer row."""
    if isinstance(evaluation.predictions, MultiLabelTable):
        return _print_multi_label(evaluation, evaluation.predictions)
    measured = f"accuracy {percent(evaluation.accuracy)} of {evaluation.images:,}   loss {evaluation.loss:.4g}"
    print(f"{measured}   computed in {evaluation.precision}")
    chance, interval = percent(evaluation.predictions.majority), format_interval(evaluation.accuracy_interval)
    balanced, f1 = percent(evaluation.balanced_accuracy), percent(evaluation.macro_f1)
    print(f"95 % interval {interval}   majority class {chance}   balanced accuracy {balanced}   macro F1 {f1}\n")
    rows = [(c.name, f"{c.images:,}", _or_dash(c.precision), _or_dash(c.recall)) for c in evaluation.classes]
    print_table(("class", "images", "precision", "recall"), rows, right=["images", "precision", "recall"])
    names = [c.name for c in evaluation.classes]
    print()
    counts = [(name, *map(str, row)) for name, row in zip(names, evaluation.confusion, strict=True)]
    print_table(("true \\ predicted", *names), counts, right=names)


def _print_multi_label(evaluation: Evaluation, table: MultiLabelTable) -> None:
    """Print the metrics, and a row for each class."""
    measured = "   ".join(f"{words(name)} {percent(value)}" for name, value in evaluation.metrics.items())
    print(f"{measured}   of {evaluation.images:,}   loss {evaluation.loss:.4g}   computed in {evaluation.precision}\n")
    rows = [
        (
            result.name,
            f"{result.images:,}",
            _or_dash(result.average_precision),
            f"{result.threshold:.3f}",
            *map(_or_dash, (result.precision, result.recall, result.f1)),
        )
        for result in table.class_results
    ]
    columns = ("images", "average precision", "threshold", "precision", "recall", "F1")
    print_table(("class", *columns), rows, right=list(columns))
    if table.without_images:
        print(f"\nNot in the mAP, because no image has them: {', '.join(table.without_images)}")


def _or_dash(fraction: float | None) -> str:
    return "-" if fraction is None else percent(fraction)
