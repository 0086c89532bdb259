"""`zoo tune`: search the settings of a recipe on your images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.commands.run import parse_overrides
from zoo_core.cli.console import eprint, percent, print_json, print_table
from zoo_core.cli.options import (
    DeviceOption,
    Json,
    NameOption,
    NoteOption,
    TagOption,
    recipe_names,
    registry,
)
from zoo_core.recipes.settings import PrecisionName
from zoo_core.runs.tuning import Trial, Tuning


def tune(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe with a frozen backbone, such as transfer.", autocompletion=recipe_names),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A folder of images, in place of the recipe's dataset.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="For everything: features, trials and the last run.")] = 10.0,
    trials: Annotated[int | None, typer.Option(min=1, help="Stop earlier, after so many trials.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", help="Another backbone to try, or a pattern; may be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for any field, which is then fixed; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the split, the folds and the search.")] = None,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(help="auto, float32 (full precision) or bfloat16.", metavar="PRECISION"),
    ] = None,
    device: DeviceOption = "auto",
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(help="The directory of a search to continue, for this many more minutes.")
    ] = None,
    name: NameOption = None,
    tag: TagOption = None,
    note: NoteOption = None,
    json: Json = False,
) -> None:
    """Search the settings of a recipe on your images, and train the best ones.

    Settings are compared by cross-validation inside the training images. The recipe's own are trial 0, and are only
    replaced by settings that are better by more than a standard error.
    """
    overrides = parse_overrides(set_ or [])
    known = registry(context)
    from zoo_core.api.selection import tune as search

    tuning = search(
        recipe,
        data=data,
        models=models or (),
        minutes=minutes,
        trials=trials,
        resume=resume,
        seed=seed,
        precision=precision,
        overrides=overrides,
        device=device,
        out=out,
        name=name,
        tags=tag or (),
        note=note,
        progress=True,
        registry=known,
    )
    print_json(tuning.to_dict()) if json else _print_tuning(tuning)


def _print_tuning(tuning: Tuning) -> None:
    rows = [_cells("default", tuning.default, tuning), _cells("chosen", tuning.chosen, tuning)]
    headers = ("", "trial", "log loss", "accuracy", "95 % interval")
    print_table(headers, rows, right=headers[1:])
    gain, kept = tuning.gain(tuning.chosen), tuning.chosen is tuning.default
    measured = "log loss" if tuning.criterion == "loss" else "error"
    outcome = f"the {measured} falls by {gain.mean:.4f} ± {gain.error:.4f}"
    print(f"{len(tuning.trials)} trials in {tuning.seconds:.0f} s: {'the default is kept' if kept else outcome}")
    print(f"run: {tuning.run}")
    print(f"repeat: {tuning.command}")
    if "validation_accuracy" in tuning.metrics:
        eprint(f"\nValidation accuracy of the run: {percent(tuning.metrics['validation_accuracy'])}")
    eprint(f"Report: {tuning.directory / 'report.html'}\nTry: zoo predict {shlex.quote(str(tuning.run))} IMAGE")


def _cells(name: str, trial: Trial, tuning: Tuning) -> tuple[str, ...]:
    low, high = tuning.interval(trial)
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    return (name, str(trial.number), f"{trial.loss:.4f}", percent(trial.accuracy), interval)
