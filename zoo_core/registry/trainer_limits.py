"""Refuses what a trainer's card says it cannot do: a run must not record settings that it ignored."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from zoo_core.cards.components import Component
from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.models import ModelCard
from zoo_core.cards.trainers import RECIPE_FIELDS, RecipeField, TrainerCard
from zoo_core.errors import UsageError
from zoo_core.recipes.recipe import Recipe


def refuse_unsupported(trainer: TrainerCard, model: ModelCard, recipe: Recipe, *, changed_from: Recipe) -> None:
    """Raise if the trainer needs a head or weights that the model lacks, or if a field that it does not use is set.

    A field is set if it differs from its default. `epochs` and `batch_size` have none; they are set if they differ from
    the original recipe, `changed_from`.

    Raises:
        UsageError: the model has no head, starts from random weights, or the error names every such field.
    """
    if trainer.needs_head and model.head is None:
        raise UsageError(
            f"{model.name} has no head to train alone",
            why=f"its card does not name one, and the trainer {trainer.name} trains only the head",
            fix=f"zoo run {recipe.name} --set trainer=supervised",
        )
    _refuse_random(trainer, model, recipe)
    if (folds := recipe.split.folds) is not None and "split.folds" not in trainer.uses:
        raise UsageError(
            f"the trainer {trainer.name} cannot validate by cross-validation",
            why="it would train the whole model once for each fold; logistic-head only fits the head again",
            fix=f"zoo run transfer --data FOLDER --set split.folds={folds}",
        )
    unused = [name for name in RECIPE_FIELDS if name not in trainer.uses and _is_set(name, recipe, changed_from)]
    if unused:
        raise UsageError(
            f"the trainer {trainer.name} does not use {', '.join(unused)}",
            why=f"recipe {recipe.name!r} sets it, and the run would ignore it",
            fix=f"zoo run {recipe.name} --set trainer=supervised",
        )


def _refuse_random(trainer: TrainerCard, model: ModelCard, recipe: Recipe) -> None:
    if not trainer.needs_weights or recipe.weights is not None or recipe.settings.get("allow_random"):
        return
    pretrained = any(weights.covers != "head" for weights in model.weights)
    raise UsageError(
        f"{model.name} starts from random weights, and the trainer {trainer.name} needs a pretrained backbone",
        why="random features are worth little; --set settings.allow_random=true trains on them anyway",
        fix=f"zoo run {recipe.name} " + ("--weights pretrained" if pretrained else "--set trainer=supervised"),
    )


def refuse_other_task(
    dataset: DatasetCard, trainer: TrainerCard, components: Iterable[Component], recipe: Recipe
) -> None:
    """Raise if the trainer, the loss or a metric does not understand labels of the dataset's task.

    Raises:
        UsageError: names each of them; or `balance` is set, which weighs the classes of single-label images.
    """
    task = dataset.task
    unable = [f"the trainer {trainer.name}"] if task not in trainer.tasks else []
    chosen = (component for component in components if component.kind in ("loss", "metric"))
    unable += [f"the {one.kind} {one.name}" for one in chosen if task not in one.tasks]
    if unable:
        raise UsageError(
            f"{dataset.name} is a {task} dataset, which {', '.join(unable)} cannot use",
            why="an image may have any number of its labels" if task == "multi-label" else "each image has one label",
            fix=f"zoo run {recipe.name} --set trainer=supervised",
        )
    if task == "multi-label" and recipe.balance:
        raise UsageError(
            f"balance cannot be used with {dataset.name}, a multi-label dataset",
            why="it weighs images by their one label; the thresholds already suit rare classes",
            fix=f"zoo run {recipe.name} --set balance=0",
        )


def refuse_own_validation(dataset: DatasetCard, recipe: Recipe) -> None:
    """Raise if the recipe validates by cross-validation, and the images already have a validation split.

    Raises:
        UsageError: they have.
    """
    if recipe.split.folds is not None and any("validation" in edition.examples for edition in dataset.editions):
        raise UsageError(
            f"{dataset.name if dataset.loader else dataset.source} already has a validation split",
            why=f"with split.folds={recipe.split.folds}, none are set aside: leave it out to validate on these, or "
            "give class folders or a CSV file without a split, to validate on all images",
        )


def _is_set(name: RecipeField, recipe: Recipe, changed_from: Recipe) -> bool:
    value, required = attrgetter(name), Recipe.model_fields[name.partition(".")[0]].is_required()
    return bool(value(recipe) != value(changed_from if required else Recipe.model_construct()))
