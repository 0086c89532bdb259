"""`zoo run`: train a model from a recipe."""

from __future__ import annotations

import json as json_
import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_core.cards.fields import Head
from zoo_core.cli.console import eprint, is_first_rank, percent, print_json, print_table
from zoo_core.cli.options import DeviceOption, Json, NameOption, NoteOption, TagOption, recipe_names, registry
from zoo_core.errors import CheckFailed, UsageError
from zoo_core.metrics import majority_of
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.settings import PrecisionName
from zoo_core.results import RunResult, format_interval, format_measured, format_metric, format_reference, words
from zoo_core.runs.labels import RunLabels


def run(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="A recipe: see zoo list.", autocompletion=recipe_names)] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for any field; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder or CSV file of images, in place of the recipe's dataset.")
    ] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Share of each class to hold out. [default: one image in five, by hash]")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Regular expression: what it matches in a path stays on one side of the split.")
    ] = None,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Train even if an image is in more than one split.")
    ] = False,
    edition: Annotated[str | None, typer.Option(help="Edition of the dataset.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights to start from: none (random), pretrained, or a name on the card.")
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(help="keep the head of these weights, or put a fresh one on their backbone.", metavar="HEAD"),
    ] = None,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(help="auto, float32 (full precision) or bfloat16.", metavar="PRECISION"),
    ] = None,
    device: DeviceOption = "auto",
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    resume: Annotated[
        str | None,
        typer.Option(help="Resume an unfinished run: its path, or auto (the newest on the same data, if any)."),
    ] = None,
    name: NameOption = None,
    tag: TagOption = None,
    note: NoteOption = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds between checkpoints. [default: 60, or longer if saving is slow]"),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write the metrics for TensorBoard.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan without running it.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 9 if a metric does not match the published one.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a model from a recipe."""
    overrides = parse_overrides(set_ or []) | ({"edition": edition} if edition is not None else {})
    labels = RunLabels.checked(name=name, tags=tag or (), note=note)
    known = registry(context)
    from zoo_core.api.training import planned, run_plan

    plan, unfinished = planned(
        known,
        recipe,
        overrides,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        weights=weights,
        head=head,
        precision=precision,
        device=device,
        data=data,
        val_fraction=val_fraction,
        group=group,
        allow_leakage=allow_leakage,
        out=out,
        resume=resume,
        name=name,
    )
    if dry_run:
        return _print_plan(plan, device)
    result = run_plan(
        plan,
        out=out,
        resume=unfinished,
        labels=labels,
        checkpoint_every=checkpoint_every,
        tensorboard=tensorboard,
        progress=True,
    )
    if not is_first_rank():
        return None
    print_json(_as_json(result)) if json else print_result(plan, result)
    if strict and not result.passed:
        path = shlex.quote(f"{result.directory}/result.json")
        raise CheckFailed(f"a metric of {plan.recipe.name} does not match the published one", fix=f"cat {path}")
    return None


def _print_plan(plan: Plan, device: str) -> None:
    if device != "auto":
        from zoo_core.engine.compute.devices import pick_device  # torch is imported here, not before

        pick_device(device)
    print_json(plan.model_dump(mode="json"))


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """Read KEY=VALUE pairs. A value is TOML or JSON, otherwise text.

    Raises:
        UsageError: a pair has no equals sign, or no key.
    """
    parsed = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {pair} is not KEY=VALUE", fix="zoo run RECIPE --set optimizer.lr=3e-4")
        parsed[key] = _value(value)
    return parsed


def _value(text: str) -> Any:  # noqa: ANN401 - any TOML or JSON value
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return json_.loads(text) if text.startswith(("[", "{")) or text == "null" else text
    except ValueError:
        return text


def _as_json(result: RunResult) -> dict[str, Any]:
    return {key: value for key, value in result.to_dict().items() if key != "history"}


def print_result(plan: Plan, result: RunResult) -> None:
    """Print the published metrics of each epoch next to ours, which epoch is kept, and then all metrics in a table."""
    _print_log(plan, result)
    kept = result.kept.describe(result.metrics, result.kinds) if result.kept else ""
    print(f"{kept}\n") if kept else None
    print(f"validation: {result.validated}\n") if result.validated else None
    columns = ["measured", *(["95 % interval", "majority class"] if result.intervals else [])]
    if result.comparisons:
        print_table(("", "published", *columns, "match"), _compared(result), right=["published", *columns])
    else:
        rows = [(words(name), *_measured(result, name, value)) for name, value in result.metrics.items()]
        print_table(("", *columns), rows, right=columns)
    directory = shlex.quote(str(result.directory))
    eprint(f"\nResults saved to {result.directory} (open report.html)\nTry: zoo predict {directory} IMAGE")


def _measured(result: RunResult, name: str, value: float | None) -> tuple[str, ...]:
    """Return a metric, its interval, and for an accuracy what always predicting the most frequent class would reach.

    Without any interval, as for multi-label data, the metric alone.
    """
    measured = format_measured(name, value, result.kinds)
    if not result.intervals:
        return (measured,)
    majority = majority_of(name, result.splits)
    return measured, format_interval(result.intervals.get(name)), "" if majority is None else percent(majority)


def _compared(result: RunResult) -> list[tuple[str, ...]]:
    rows = [
        (
            words(comparison.metric),
            format_reference(comparison.metric, comparison.reference, result.kinds),
            *_measured(result, comparison.metric, comparison.measured),
            comparison.verdict,
        )
        for comparison in result.comparisons
    ]
    known = {comparison.metric for comparison in result.comparisons}
    others = {name: value for name, value in result.metrics.items() if name not in known}
    return rows + [(words(name), "", *_measured(result, name, value), "") for name, value in others.items()]


def _print_log(plan: Plan, result: RunResult) -> None:
    """Print each published epoch next to the same epoch of this run."""
    log = plan.recipe.reference.log if plan.recipe.reference else {}
    if not log:
        return
    rows = []
    for number, ours in enumerate(result.history):
        theirs = {name: values[number] for name, values in log.items() if number < len(values)}
        cells = [
            format_metric(name, values[name]) if name in values else "" for name in log for values in (theirs, ours)
        ]
        rows.append((str(number + 1), *cells))
    headers = [header for name in log for header in (f"{words(name)}: published", "measured")]
    print_table(("epoch", *headers), rows, right=headers)
    print()
