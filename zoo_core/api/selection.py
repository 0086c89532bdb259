"""Choosing a model for the user's images: compare backbones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo_core.events import OnEvent
from zoo_core.progress import handled_events
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.runs.backbones import BackboneRanking
from zoo_core.store.store import Store

RECIPE = "transfer"


def compare(
    data: Path | str | None = None,
    models: Sequence[str] | None = None,
    *,
    seed: int | None = None,
    precision: PrecisionName | None = None,
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> BackboneRanking:
    """Compare backbones on images: each gets the linear head of the recipe `transfer`, on the same split.

    The features are cached: training one of the models afterwards takes seconds, and a comparison that was stopped
    continues where it was. A model that fails is a score with an error.

    Args:
        data: a folder of images; None: the recipe's dataset.
        models: names, or patterns such as "timm/resnet18*"; None: those with pretrained weights that are cached, in an
            installed package or on the package index.
        seed: of the split and the folds. In this and the next field, None keeps the recipe's value.
        precision: "auto", "float32" (full precision) or "bfloat16".
        overrides: any other field of the recipe, by its dotted key.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
        on_event: called with each event.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such model, or a pattern matches none.
        UsageError: no model is at hand, or the patterns match too many.
        DataError: the images cannot be used.
        ZooError: no model could be measured; this is the first one's error.
    """
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.engine.tuning.backbones import compare_backbones
    from zoo_core.engine.tuning.choice import chosen_models

    registry, store = registry or load_registry(), store or Store.default()
    fields = {**(overrides or {}), "seed": seed, "precision": precision}
    changed = {key: value for key, value in fields.items() if value is not None}
    folder = None if data is None else Path(data)

    def planned(model: str) -> Plan:
        return registry.plan(RECIPE, {**changed, "model": model}, device=device, data=folder)

    names = chosen_models(registry, store, models or ())
    with distributed_session() as world, handled_events(on_event, progress) as handle:
        ranking = compare_backbones(names, planned, store=store, on_event=handle, world=world)
    return replace(ranking, settings=changed)
