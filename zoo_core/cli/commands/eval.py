"""`zoo eval`: accuracy, loss, and how each class fares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cards import Split
from zoo_core.cli.console import eprint, out, percent, print_json, print_table
from zoo_core.cli.options import Json, PrecisionOption, all_names, registry
from zoo_core.cli.progress import Bars
from zoo_core.results import Evaluation
from zoo_core.store.store import Store


def eval_(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A model, or the path of a run.", autocompletion=all_names)],
    data: Annotated[Path | None, typer.Option(help="A folder of your own images.")] = None,
    dataset: Annotated[str | None, typer.Option(help="NAME or NAME.EDITION.")] = None,
    split: Annotated[Split | None, typer.Option(help="test, validation or train.")] = None,
    precision: PrecisionOption = "auto",
    json: Json = False,
) -> None:
    """Evaluate a model or a run on labelled images."""
    known = registry(context)
    from zoo_core.api import evaluate_on  # torch starts here, and nowhere sooner
    from zoo_core.engine.compute.distributed import distributed_session

    with distributed_session() as world, Bars(shown=world.is_first) as bars:
        told = evaluate_on(
            known,
            Store.default(),
            target,
            data=data,
            dataset=dataset,
            split=split,
            precision=precision,
            on_event=bars,
            world=world,
        )
    if not world.is_first:
        return
    eprint(f"Using {told.origin} on {told.images}")
    if json:
        print_json({"model": told.origin, "images": told.images, **told.evaluation.as_json()})
    else:
        print_evaluation(told.evaluation)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print accuracy and loss, a row for each class, and the confusion matrix."""
    out().print(f"accuracy {percent(evaluation.accuracy)} of {evaluation.images:,}   loss {evaluation.loss:.4g}\n")
    rows = [(c.name, f"{c.images:,}", _or_none(c.precision), _or_none(c.recall)) for c in evaluation.classes]
    print_table(("class", "images", "precision", "recall"), rows, right=["images", "precision", "recall"])
    names = [c.name for c in evaluation.classes]
    out().print()
    counts = [(name, *map(str, row)) for name, row in zip(names, evaluation.confusion, strict=True)]
    print_table(("is, and was called", *names), counts, right=names)


def _or_none(fraction: float | None) -> str:
    return "none" if fraction is None else percent(fraction)
