"""{{ summary }}."""

from __future__ import annotations

from zoo_core import DatasetCard, Edition, File, Recipe, Source, hookimpl

SIZE, SHA256 = {{ data_size }}, "{{ data_sha256 }}"
SHAPES = File(
    sources=(Source(uri="package:{{ package }}/data/shapes.csv", size=SIZE, sha256=SHA256),), size=SIZE, sha256=SHA256
)
DRAWN = Edition(
    name="drawn",
    summary="drawn from a table that ships with this package",
    files={"shapes": SHAPES},
    examples={"train": 240, "validation": 60, "test": 60},
)


@hookimpl
def zoo_datasets() -> list[DatasetCard]:
    """Return the dataset."""
    return [
        DatasetCard(
            name="{{ name }}",
            summary="{{ summary }}",
            license="CC0-1.0",
            attribution="none: the images are generated",
            source="{{ distribution }}",  # a page, or a paper
            classes=("cross", "disc", "square"),
            editions=(DRAWN,),
            loader="{{ package }}.data:load",  # imported when it is opened, not when it is listed
        )
    ]


@hookimpl
def zoo_recipes() -> list[Recipe]:
    """Return a recipe that uses it."""
    return [
        Recipe(
            name="{{ name }}",
            summary="FashionCNN from scratch on {{ name }}",
            model="fashion-cnn",
            dataset="{{ name }}",
            epochs=4,
            batch_size=16,
        )
    ]
