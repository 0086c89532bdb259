"""A third-party plugin with multi-label data: squares that are dark, red, striped, several of these or none."""

from __future__ import annotations

from zoo_core import DatasetCard, Edition, File, ImageInput, ModelCard, Recipe, Source, hookimpl

CLASSES = ("dark", "red", "striped", "winged")  # no image is winged
# the images are drawn, but a dataset has files
SHA256 = "b517f3ddf7c1b4cdeff6b24f1ac8b6cc8bfd1120ac67b79bb8082bace0d44afa"
FILE = File(
    sources=(Source(uri="package:zoo_meadow/meadow.txt", size=5, sha256=SHA256),),
    size=5,
    sha256=SHA256,
)


@hookimpl
def zoo_models() -> list[ModelCard]:
    return [
        ModelCard(
            name=name,
            summary="A convolution with BatchNorm, and a linear head",
            license="Apache-2.0",
            source="a test",
            builder="zoo_meadow.model:MeadowNet",
            fixed=fixed,
            input=ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            num_classes=4,
            classes=CLASSES,
            head="fc",
            parameters=parameters,
        )
        for name, fixed, parameters in (("meadow-net", {}, 532), ("meadow-single", {"outputs": 1}, 481))
    ]


@hookimpl
def zoo_datasets() -> list[DatasetCard]:
    edition = Edition(
        name="drawn", summary="drawn", files={"meadow": FILE}, examples={"train": 96, "validation": 48, "test": 24}
    )
    hazy = Edition(
        name="hazy",
        summary="hard to see",
        files={"hazy": FILE},
        examples={"train": 400, "validation": 200, "test": 400},
    )
    return [
        DatasetCard(
            name="meadow",
            summary="Squares with any number of properties",
            license="CC0-1.0",
            attribution="nobody",
            source="a test",
            classes=CLASSES,
            task="multi-label",
            editions=(edition, hazy),
            loader="zoo_meadow.data:load",
        )
    ]


@hookimpl
def zoo_recipes() -> list[Recipe]:
    common = {
        "model": "meadow-net",
        "dataset": "meadow",
        "epochs": 6,
        "batch_size": 8,
        "optimizer": {"name": "adam", "lr": 0.02},
    }
    return [
        Recipe(name="meadow", summary="All parameters learn", **common),
        Recipe(
            name="meadow-features",
            summary="Only the head learns",
            trainer="frozen-features",
            settings={"allow_random": True},
            **common,
        ),
    ]
