"""The five hooks: how a plugin says what it brings.

A plugin is a distribution with an entry point in the group `zoo_core` that names a module with hook implementations:

    [project.entry-points.zoo_core]
    alexnet = "zoo_alexnet"

Hooks return values and do not call back. The module that implements them must not import torch: cards name their code
as strings, which are resolved only when used.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from zoo_core.cards import Catalogue, DatasetCard, ModelCard, TrainerCard
from zoo_core.recipes import Recipe

GROUP = "zoo_core"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def zoo_models() -> Iterable[ModelCard]:  # type: ignore[empty-body]
    """Return the models that this plugin brings."""


@hookspec
def zoo_catalogues() -> Iterable[Catalogue]:  # type: ignore[empty-body]
    """Return the catalogues that this plugin brings: models by the hundred, whose cards are made when looked up."""


@hookspec
def zoo_datasets() -> Iterable[DatasetCard]:  # type: ignore[empty-body]
    """Return the datasets that this plugin brings."""


@hookspec
def zoo_trainers() -> Iterable[TrainerCard]:  # type: ignore[empty-body]
    """Return the trainers that this plugin brings."""


@hookspec
def zoo_recipes() -> Iterable[Recipe]:  # type: ignore[empty-body]
    """Return the recipes that this plugin brings."""
