"""The metrics that a recipe names in addition to loss and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from zoo_core.cards.fields import resolve
from zoo_core.engine.training.examples import VALIDATION, EvaluatedExamples
from zoo_core.errors import PluginError, UsageError
from zoo_core.metrics import TASK_METRICS, MetricKind, for_task
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.recipe import Recipe


def measured_names(plan: Plan, measures: Collection[str]) -> list[str]:
    """Return the names of all metrics that a TrainingLoop records for these measures."""
    names = ["loss", *(for_task(name, plan.task) for name in measures)]
    if VALIDATION in measures:
        names += [f"validation_{name}" for name in ("loss", *TASK_METRICS[plan.task])]
        names += [recorded_name(choice.name) for choice in plan.recipe.metrics]
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class RecipeMetrics:
    """Functions of (logits, labels), and the kinds of their results, by the name they are recorded under."""

    functions: Mapping[str, Callable[..., float]]
    kinds: Mapping[str, MetricKind]

    @classmethod
    def of(cls, recipe: Recipe, measures: Mapping[str, object]) -> RecipeMetrics:
        """Return a recipe's metrics. Raises UsageError if it names some and there are no validation images."""
        if recipe.metrics and VALIDATION not in measures:
            names = ", ".join(choice.name for choice in recipe.metrics)
            raise UsageError(
                f"{names} cannot be measured",
                why="metrics are measured on validation images, and there are none",
                fix=f"zoo run {recipe.name} --set 'metrics=[]'",
            )
        chosen = {recorded_name(choice.name): choice for choice in recipe.metrics}
        return cls(
            {name: partial(resolve(choice.component.build), **choice.settings) for name, choice in chosen.items()},
            {name: choice.component.metric_kind for name, choice in chosen.items()},
        )

    def measure(self, validation: EvaluatedExamples) -> dict[str, float]:
        """Return the task's metrics of the validation images, and the recipe's.

        Raises:
            PluginError: one is not a number.
        """
        ours = {f"validation_{name}": value for name, value in validation.metrics.items()}
        return ours | {name: self._value(name, validation) for name in self.functions}

    def _value(self, name: str, evaluated: EvaluatedExamples) -> float:
        value = self.functions[name](evaluated.logits, evaluated.examples.labels)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            why = f"it returned a {type(value).__name__}, not a number"
            raise PluginError(f"the metric {name} is invalid", why=why) from error


def recorded_name(metric: str) -> str:
    """Return the name that a metric is recorded under: "validation_macro_f1" for "macro-f1"."""
    return f"validation_{metric.replace('-', '_')}"
