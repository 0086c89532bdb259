"""Checks that a trainer uses the recipe's fields: changing one must change the result or be refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from zoo_core.cards.fields import resolve
from zoo_core.cards.trainers import RECIPE_FIELDS, RecipeField, TrainerCard
from zoo_core.engine.checks.guards import tried
from zoo_core.engine.models.build import state_hash
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import UsageError
from zoo_core.events import EpochResult
from zoo_core.recipes.component_choice import ComponentChoice
from zoo_core.registry.builtin import MACRO_F1
from zoo_core.results import Check

NewJob = Callable[[Mapping[str, Any]], Job]  # makes the same job each time, with changes to its recipe
CHANGES: Mapping[RecipeField, tuple[Any, Any]] = MappingProxyType(  # two values: one of them differs from the recipe's
    {
        "epochs": (3, 2),
        "batch_size": (3, 4),
        "optimizer": ({"name": "sgd", "lr": 1e-3, "momentum": 0.9}, {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1}),
        "schedule": ("cosine", "constant"),
        "warmup": (0.9, 0.0),
        "layer_decay": (0.5, 1.0),
        "clip_norm": (1e-3, None),
        "accumulate": (2, 1),
        "ema": (0.5, None),
        "balance": (1.0, 0.0),
        "augment": ([{"name": "horizontal-flip", "p": 1.0}, {"name": "rotation", "degrees": 90}], []),
        "loss": ({"name": "cross-entropy", "label_smoothing": 0.2}, {"name": "cross-entropy"}),
        "metrics": ([ComponentChoice(name=MACRO_F1.name).bound_to(MACRO_F1, {})], []),
        "precision": ("bfloat16", "float32"),
        "seed": (1, 0),
        "split.folds": (3, 2),
    }
)
OTHER_RESULT = "another result, or a refusal"


def recipe_field_checks(card: TrainerCard, new_job: NewJob, where: str) -> Iterator[Check]:
    """Change every field that the trainer's card says it uses, one at a time."""
    job = new_job({})
    recipe, base = job.plan.recipe.model_dump(mode="json"), _result(card, job)
    without_effect = ("balance",) if _is_even(job) else ()
    for field in RECIPE_FIELDS:
        if field in card.uses and field not in without_effect:
            *above, key = field.split(".")
            change = {key: next(value for value in CHANGES[field] if value != recipe.get(field))}
            compare = partial(_compare, card, new_job, {above[0]: change} if above else change, base)
            yield tried(card.name, f"with another {field}{where}", OTHER_RESULT, compare)


def _compare(card: TrainerCard, new_job: NewJob, changes: Mapping[str, Any], base: object) -> str:
    try:
        return OTHER_RESULT if _result(card, new_job(changes)) != base else "the same result"
    except UsageError:
        return OTHER_RESULT


def _is_even(job: Job) -> bool:
    """Return whether all classes of the training images are equally frequent: then class weights are all 1."""
    return len(set(Counter(job.train.label(index) for index in range(len(job.train))).values())) == 1


def _result(card: TrainerCard, job: Job) -> object:
    """Return the result of training: its metrics and the model's parameters."""
    events = resolve(card.trainer)().fit(job, None)
    metrics = [(dict(event.metrics), dict(event.kinds)) for event in events if isinstance(event, EpochResult)]
    return metrics, state_hash(job.model)
