"""The page that compares the notebook's numbers with ours: counts from `zoo check`, metrics from finished runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from zoo_core.engine.models.summary import layers_of
from zoo_core.recipes.reference import ParameterCounts
from zoo_core.registry.registry import Registry
from zoo_core.results import format_metric, words

Runs = dict[str, dict[str, Any]]  # by "RECIPE seed N"

HEADER = """# Published and measured values

Every number that the tutorial notebook "Convolutional Neural Network Parameters Breakdown" gives, next to ours.
`python docs/generate.py --runs runs` writes this page from the given runs; each table names the command for such a
run.

## Parameter counts, shapes and sizes

*Documented* numbers are printed in the notebook; *derived* ones follow from its code but are not printed. *Declared*
numbers are on the model card, and PyTorch *counted* the last column.

| model | | documented | derived | declared | counted |
|---|---|---|---|---|---|"""


def numbers(registry: Registry, measured: Runs) -> Iterator[str]:
    """Yield the page."""
    yield HEADER
    for name in sorted(registry.references):
        yield from _counts(registry, name)
    yield "\n`zoo check` compares all of these, and the output shapes.\n"
    for name in registry.recipes:
        runs = [run for run in measured.values() if run["recipe"] == name]
        if runs:
            yield from _recipe(registry, name, runs)
    yield "## Errata\n\nWhere the notebook's text and code disagree: [errata](errata.md).\n"


def _counts(registry: Registry, name: str) -> Iterator[str]:
    card, reference, layers = registry.models[name], registry.references[name], layers_of(registry.models[name])
    printed, implied = reference.documented or ParameterCounts(), reference.derived or ParameterCounts()

    def row(what: str, *values: object) -> str:
        cells = (f"{value:,}" if isinstance(value, int) else str(value or "") for value in values)
        return f"| `{name}` | {what} | {' | '.join(cells)} |"

    yield row("parameters", printed.parameters, implied.parameters, card.parameters, layers.parameters)
    counted = {layer.path: layer.parameters for layer in layers.layers}
    for path in [*printed.layers, *implied.layers]:
        yield row(f"`{path}`", printed.layers.get(path), implied.layers.get(path), "", counted[path])
    for what, size in printed.megabytes.items():
        yield row(f"MB: {what.replace('_', ' and ')}", size, "", "", f"{layers.megabytes[what]:.2f}")


def _recipe(registry: Registry, name: str, runs: list[dict[str, Any]]) -> Iterator[str]:
    reference = registry.recipes[name].reference
    seeds = ", ".join(str(run["seed"]) for run in runs)
    yield f"## {name}\n\n{registry.recipes[name].summary}."
    yield f"`zoo run {name} --seed N`, with N = {seeds}.\n"
    yield "| metric | notebook | measured: mean | lowest | highest |\n|---|---|---|---|---|"
    for metric in runs[0]["epochs"][-1] | runs[0]["final"]:
        values = [(run["epochs"][-1] | run["final"])[metric] for run in runs]
        published = reference.metrics.get(metric) if reference else None
        quote = f"“{published.quote}”" if published else ""
        spread = " | ".join(format_metric(metric, f(values)) for f in (mean, min, max))
        yield f"| {words(metric)} | {quote} | {spread} |"
    yield ""
    if reference and reference.log:
        yield from _log(reference.log, runs)


def _log(log: Mapping[str, tuple[float, ...]], runs: list[dict[str, Any]]) -> Iterator[str]:
    yield "By epoch, notebook \\| measured (mean over the seeds):\n"
    yield f"| epoch | {' | '.join(words(metric) for metric in log)} |\n|---|{'---|' * len(log)}"
    for epoch in range(len(next(iter(log.values())))):
        cells = []
        for metric, printed in log.items():
            measured = mean(run["epochs"][epoch][metric] for run in runs)
            cells.append(f"{format_metric(metric, printed[epoch])} \\| {format_metric(metric, measured)}")
        yield f"| {epoch + 1} | {' | '.join(cells)} |"
    yield ""
