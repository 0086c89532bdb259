"""Refuses a recipe that sets what its trainer does not use: a run must not record what it did not do."""

from __future__ import annotations

from zoo_core.cards import RECIPE_FIELDS, RecipeField, TrainerCard
from zoo_core.errors import UsageError
from zoo_core.recipes import Recipe


def refuse_unused(trainer: TrainerCard, recipe: Recipe, *, changed_from: Recipe) -> None:
    """Raise where a field that the trainer does not use differs from its default, or from another recipe.

    `epochs` and `batch_size` have no default; they are refused only where they are changed from a recipe's.

    Raises:
        UsageError: names every such field.
    """
    unused = [name for name in RECIPE_FIELDS if name not in trainer.uses and _is_set(name, recipe, changed_from)]
    if unused:
        raise UsageError(
            f"the trainer {trainer.name} does not use {', '.join(unused)}",
            why=f"recipe {recipe.name!r} sets it, and the run would ignore it",
            fix=f"zoo run {recipe.name} --set trainer=supervised",
        )


def _is_set(name: RecipeField, recipe: Recipe, changed_from: Recipe) -> bool:
    field, value = Recipe.model_fields[name], getattr(recipe, name)
    if not field.is_required():
        return bool(value != field.get_default())
    return bool(value != getattr(changed_from, name))
