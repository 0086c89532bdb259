"""The page of a search of settings: what was chosen, the best so far, and the trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from zoo_core.errors import printable
from zoo_core.runs import charts
from zoo_core.runs.tuning import Tuning

SHOWN = 20  # trials in the table


def render(tuning: Tuning) -> str:
    """Return the page of a search."""
    templates = Environment(
        loader=PackageLoader("zoo_core", "runs/templates"), autoescape=True, undefined=StrictUndefined
    )
    templates.filters |= {"printable": printable, "changes": changes}
    ranking = sorted(tuning.trials, key=lambda trial: (trial.cost(tuning.criterion), trial.number))
    unit = "log loss" if tuning.criterion == "loss" else "error, fraction of 1"
    costs = [trial.cost(tuning.criterion) for trial in tuning.trials]
    return templates.get_template("tuning.html").render(
        title=f"{tuning.recipe} tuned on {printable(tuning.folder.name)}" if tuning.folder else tuning.recipe,
        tuning=tuning,
        gain=tuning.gain(tuning.chosen),
        shown=ranking[:SHOWN],
        chart=charts.best_so_far(costs, tuning.costs_so_far, unit),
    )


def changes(overrides: Mapping[str, Any]) -> str:
    """Return the fields that a trial changes in one line."""
    plain = [f"{key} = {value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]
    return ", ".join(plain) or "the recipe's own settings"
