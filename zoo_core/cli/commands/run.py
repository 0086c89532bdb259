"""`zoo run`: fetch, train, evaluate, keep the result, and hold it against the documented figure."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_core.cli.console import eprint, is_first_rank, out, print_json, print_table
from zoo_core.cli.options import Json, recipe_names, registry
from zoo_core.cli.progress import run_with_progress
from zoo_core.errors import CheckFailed, UsageError
from zoo_core.recipes import Plan, PrecisionName
from zoo_core.registry.registry import Registry
from zoo_core.results import RunResult, format_measured, format_metric, format_reference, words
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import find_resumable, require_same_recipe


def run(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="A recipe: see zoo list.", autocompletion=recipe_names)] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for any field; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder of your own images, in place of the dataset.")] = None,
    edition: Annotated[str | None, typer.Option(help="Of the dataset.")] = None,
    weights: Annotated[str | None, typer.Option(help="To start from: none, pretrained, trained, or a name.")] = None,
    precision: Annotated[PrecisionName | None, typer.Option(help="auto, float32 (the plain path), bfloat16.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    out: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    resume: Annotated[
        str | None, typer.Option(help="Go on with a run that did not finish: its path, or auto (the newest, if any).")
    ] = None,
    checkpoint_every: Annotated[
        float | None, typer.Option(min=0, help="Seconds between checkpoints. [default: 60, or what costs 5 %]")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write the metrics for TensorBoard too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and do nothing.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 9 where a documented figure does not hold.")
    ] = False,
    json: Json = False,
) -> None:
    """Carry out a recipe."""
    flags: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "optimizer.lr": lr, "seed": seed}
    flags |= {"edition": edition, "precision": precision}
    overrides = parse_overrides(set_ or []) | {key: value for key, value in flags.items() if value is not None}
    if weights is not None:
        overrides["weights"] = None if weights == "none" else weights
    plan, unfinished = _planned(registry(context), recipe, overrides, resume, out, device=device, data=data)
    if dry_run:
        return print_json(plan.model_dump(mode="json"))
    result = run_with_progress(plan, out, tensorboard=tensorboard, resume=unfinished, checkpoint_every=checkpoint_every)
    if not is_first_rank():
        return None
    print_json(_as_json(result)) if json else print_result(plan, result)
    if strict and not result.passed:
        what = f"a documented figure of {plan.recipe.name} did not hold"
        raise CheckFailed(what, fix=f"cat {result.directory}/result.json")
    return None


def _planned(
    known: Registry,
    recipe: str | None,
    overrides: dict[str, Any],
    resume: str | None,
    out: Path,
    *,
    device: str,
    data: Path | None,
) -> tuple[Plan, RunDir | None]:
    """Return what to do, and the run to do it in where one is to be gone on with."""
    run = find_resumable(resume, out, recipe) if resume else None
    if run is None:
        if recipe is None:
            raise UsageError("no recipe is named" + (" and no run is unfinished" if resume else ""), fix="zoo list")
        return known.plan(recipe, overrides, device=device, data=data), None
    if recipe or overrides or data or device != "auto":
        asked = recipe or run.plan().recipe.name
        require_same_recipe(run, known.plan(asked, overrides, device=device, data=data))
    return known.plan_again(run.plan()), run


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """Read KEY=VALUE pairs; values are TOML, and text where they are none.

    Raises:
        UsageError: a pair has no equals sign, or no key.
    """
    parsed = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {pair} is not KEY=VALUE", fix="zoo run RECIPE --set optimizer.lr=3e-4")
        try:
            parsed[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key] = value
    return parsed


def _as_json(result: RunResult) -> dict[str, Any]:
    reference = [comparison.as_json() for comparison in result.comparisons]
    return {
        "run": str(result.directory),
        "metrics": dict(result.metrics),
        "reference": reference,
        "passed": result.passed,
    }


def print_result(plan: Plan, result: RunResult) -> None:
    """Print the documented log beside ours, then documented | measured | held."""
    _print_log(plan, result)
    if result.comparisons:
        print_table(("", "documented", "measured", "verdict"), _compared(result), right=["documented", "measured"])
    else:
        measured = [(words(name), format_metric(name, value)) for name, value in result.metrics.items()]
        print_table(("", "measured"), measured, right=["measured"])
    eprint(f"\nKept in {result.directory}: report.html shows it all\nTry: zoo predict {result.directory} IMAGE")


def _compared(result: RunResult) -> list[tuple[str, str, str, str]]:
    rows = [
        (
            words(one.metric),
            format_reference(one.metric, one.reference),
            format_measured(one.metric, one.measured),
            one.verdict,
        )
        for one in result.comparisons
    ]
    known = {one.metric for one in result.comparisons}
    return rows + [(words(n), "", format_metric(n, v), "") for n, v in result.metrics.items() if n not in known]


def _print_log(plan: Plan, result: RunResult) -> None:
    """Print each epoch of the source's log beside the same epoch of this run."""
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
    headers = [header for name in log for header in (f"{words(name)}: documented", "measured")]
    print_table(("epoch", *headers), rows, right=headers)
    out().print()
