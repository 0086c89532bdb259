"""The hooks through which plugins provide models, catalogues, datasets, trainers, components and recipes.

A plugin is a distribution with an entry point in the group `zoo_core` that names a module with hook implementations:

    [project.entry-points.zoo_core]
    alexnet = "zoo_alexnet"

Hooks return values and do not call back. The module that implements them must not import torch: cards name their code
as strings, which are resolved on first use.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from zoo_core.cards.components import Component
from zoo_core.cards.datasets import DatasetCard
from zoo_core.cards.models import Catalogue, ModelCard
from zoo_core.cards.trainers import TrainerCard
from zoo_core.recipes.recipe import Recipe

GROUP = "zoo_core"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def zoo_models() -> Iterable[ModelCard]:
    """Return the models that this plugin provides.

    Example:
        @hookimpl
        def zoo_models():
            pixels = ImageInput(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
            return [
                ModelCard(
                    name="alexnet",
                    summary="AlexNet: five convolutions, three linear layers",
                    license="BSD-3-Clause",
                    source="https://arxiv.org/abs/1404.5997",
                    builder="torchvision.models:alexnet",
                    input=pixels,
                    num_classes=1000,
                    head="classifier.6",
                    parameters=61_100_840,
                )
            ]
    """
    raise NotImplementedError


@hookspec
def zoo_catalogues() -> Iterable[Catalogue]:
    """Return the catalogues that this plugin provides: hundreds of models, whose cards are made on lookup.

    Example:
        @hookimpl
        def zoo_catalogues():
            names = frozenset({"torchvision/resnet18", "torchvision/resnet34"})
            return [Catalogue(name="torchvision", summary="torchvision's models", models=names, card="zoo_tv:card")]
    """
    raise NotImplementedError


@hookspec
def zoo_datasets() -> Iterable[DatasetCard]:
    """Return the datasets that this plugin provides.

    Example:
        @hookimpl
        def zoo_datasets():
            sample = Edition(
                name="sample",
                summary="240 drawings, shipped with this package",
                files={"drawings": File.shipped("zoo_shapes/data/shapes.zip", 1_024, "0" * 64)},
                examples={"train": 200, "test": 40},
            )
            return [
                DatasetCard(
                    name="shapes",
                    summary="Crosses, discs and squares",
                    license="CC0-1.0",
                    attribution="the authors of zoo-shapes",
                    source="https://example.org/shapes",
                    classes=("cross", "disc", "square"),
                    editions=(sample,),
                    loader="zoo_shapes.data:load",
                )
            ]
    """
    raise NotImplementedError


@hookspec
def zoo_trainers() -> Iterable[TrainerCard]:
    """Return the trainers that this plugin provides.

    Example:
        @hookimpl
        def zoo_trainers():
            return [
                TrainerCard(
                    name="distill",
                    summary="Trains a small model on the predictions of a large one",
                    trainer="zoo_distill.trainer:Distill",
                    settings="zoo_distill.settings:DistillSettings",
                )
            ]
    """
    raise NotImplementedError


@hookspec
def zoo_components() -> Iterable[Component]:
    """Return the augmentations, optimizers, losses and metrics that this plugin provides.

    Example:
        @hookimpl
        def zoo_components():
            return [
                Component(
                    kind="loss",
                    name="focal",
                    summary="Cross-entropy that gives less weight to easy images",
                    build="zoo_focal.losses:focal",
                    settings="zoo_focal.settings:FocalSettings",
                )
            ]
    """
    raise NotImplementedError


@hookspec
def zoo_recipes() -> Iterable[Recipe]:
    """Return the recipes that this plugin provides.

    Example:
        @hookimpl
        def zoo_recipes():
            return [
                Recipe(
                    name="alexnet-shapes",
                    summary="AlexNet on drawings",
                    model="alexnet",
                    dataset="shapes",
                    epochs=5,
                    batch_size=32,
                )
            ]
    """
    raise NotImplementedError
