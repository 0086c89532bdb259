"""{{ summary }}."""

from __future__ import annotations

from zoo_core import Recipe, TrainerCard, hookimpl


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    """Return the trainer."""
    return [
        TrainerCard(
            name="{{ name }}",
            summary="{{ summary }}",
            trainer="{{ package }}.trainer:{{ class }}",  # imported only when it trains
            settings="{{ package }}.settings:{{ class }}Settings",
        )
    ]


@hookimpl
def zoo_recipes() -> list[Recipe]:
    """Return a recipe that uses it."""
    return [
        Recipe.model_validate(
            {
                "name": "{{ name }}",
                "summary": "FashionCNN on Fashion-MNIST with the trainer {{ name }}",
                "model": "fashion-cnn",
                "dataset": "fashion-mnist",
                "trainer": "{{ name }}",
                "epochs": 1,
                "batch_size": 32,
                "optimizer": {"name": "sgd", "lr": 0.05},
                "settings": {"smoothing": 0.05},
            }
        )
    ]
