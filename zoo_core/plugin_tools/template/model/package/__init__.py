"""{{ summary }}."""

from __future__ import annotations

from zoo_core import ImageInput, ModelCard, Recipe, hookimpl


@hookimpl
def zoo_models() -> list[ModelCard]:
    """Return the model."""
    return [
        ModelCard(
            name="{{ name }}",
            summary="{{ summary }}",
            license="Apache-2.0",
            source="{{ distribution }}",  # a paper, or a page
            builder="{{ package }}.model:{{ class }}",  # imported when it is built, not when it is listed
            input=ImageInput(size=28, channels=1, mean=(0.2860,), std=(0.3530,)),
            num_classes=10,
            head="fc",
            parameters=20_490,
        )
    ]


@hookimpl
def zoo_recipes() -> list[Recipe]:
    """Return a recipe that trains it."""
    return [
        Recipe(
            name="{{ name }}",
            summary="{{ class }} from scratch on Fashion-MNIST",
            model="{{ name }}",
            dataset="fashion-mnist",
            epochs=1,
            batch_size=64,
        )
    ]
