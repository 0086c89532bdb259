"""A third-party plugin: a model, a dataset, a trainer with its own settings, and recipes."""

from __future__ import annotations

from zoo_core import DatasetCard, Edition, File, ImageInput, ModelCard, Recipe, Source, TrainerCard, hookimpl

CLASSES = ("ducks", "frogs", "newts")
# the images are drawn, but a dataset has files
FILE = File(
    sources=(
        Source(
            uri="package:zoo_pond/pond.txt",
            size=5,
            sha256="b517f3ddf7c1b4cdeff6b24f1ac8b6cc8bfd1120ac67b79bb8082bace0d44afa",
        ),
    ),
    size=5,
    sha256="b517f3ddf7c1b4cdeff6b24f1ac8b6cc8bfd1120ac67b79bb8082bace0d44afa",
)


@hookimpl
def zoo_models() -> list[ModelCard]:
    return [
        ModelCard(
            name="pond-net",
            summary="A convolution with BatchNorm, and a linear head",
            license="Apache-2.0",
            source="a test",
            builder="zoo_pond.model:PondNet",
            input=ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            num_classes=3,
            classes=CLASSES,
            head="fc",
            parameters=259,
            trainable_parameters=27,
        ),
        ModelCard(
            name="alexnet",
            summary="Neither weights nor classes",
            license="BSD-3-Clause",
            source="https://arxiv.org/abs/1404.5997",
            builder="torchvision.models:alexnet",
            input=ImageInput(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            num_classes=1000,
            parameters=61_100_840,
        ),
    ]


@hookimpl
def zoo_datasets() -> list[DatasetCard]:
    edition = Edition(
        name="drawn", summary="drawn", files={"pond": FILE}, examples={"train": 48, "validation": 24, "test": 12}
    )
    return [
        DatasetCard(
            name="pond",
            summary="Colored squares",
            license="CC0-1.0",
            attribution="nobody",
            source="a test",
            classes=CLASSES,
            editions=(edition,),
            loader="zoo_pond.data:load",
        )
    ]


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    return [
        TrainerCard(
            name="patient",
            summary="Saves in the middle of an epoch",
            trainer="zoo_pond.trainer:Patient",
            settings="zoo_pond.settings:PatientSettings",
            uses=("epochs", "batch_size", "optimizer"),
        )
    ]


@hookimpl
def zoo_recipes() -> list[Recipe]:
    common = {"model": "pond-net", "dataset": "pond", "epochs": 2, "batch_size": 8}
    return [
        Recipe(name="pond", summary="Pond animals", **common),
        Recipe(
            name="pond-features",
            summary="Only the head learns",
            trainer="frozen-features",
            settings={"allow_random": True},
            **common,
        ),
        Recipe(name="pond-patient", summary="With its own trainer", trainer="patient", **common),
    ]
