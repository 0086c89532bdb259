"""Choosing a model for the user's images: compare backbones, search settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.errors import UsageError
from zoo_core.events import OnEvent
from zoo_core.progress import handled_events
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.runs.backbones import BackboneRanking
from zoo_core.runs.labels import RunLabels
from zoo_core.runs.tuning import Tuning
from zoo_core.store.store import Store

if TYPE_CHECKING:
    from zoo_core.engine.tuning.directory import Request

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
        UsageError: no model is available, or the patterns match too many.
        DataError: the images cannot be used.
        ZooError: no model could be measured; this is the first one's error.
    """
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.engine.tuning.backbones import compare_backbones
    from zoo_core.engine.tuning.choice import chosen_models

    registry, store = registry or load_registry(), store or Store.default()
    changed = _changed(overrides, seed, precision)
    folder = None if data is None else Path(data)

    def planned(model: str) -> Plan:
        return registry.plan(RECIPE, {**changed, "model": model}, device=device, data=folder)

    names = chosen_models(registry, store, models or ())
    with distributed_session() as world, handled_events(on_event, progress) as handle:
        ranking = compare_backbones(names, planned, store=store, on_event=handle, world=world)
    return replace(ranking, settings=changed)


def tune(
    recipe: str | None = None,
    *,
    data: Path | str | None = None,
    models: Sequence[str] = (),
    minutes: float = 10.0,
    trials: int | None = None,
    resume: Path | str | None = None,
    seed: int | None = None,
    precision: PrecisionName | None = None,
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    name: str | None = None,
    tags: Iterable[str] = (),
    note: str | None = None,
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> Tuning:
    """Search the settings of a recipe with a frozen backbone, and train the chosen ones as a run.

    Each trial is scored by repeated stratified cross-validation inside the training images, on cached features. The
    recipe's own settings are trial 0, and are only replaced by settings that are better in the same folds by more than
    a standard error, and not less accurate.

    Args:
        recipe: its name; may be left out with `resume`.
        data: a folder of images in place of the recipe's dataset.
        models: more backbones to try, names or patterns; the recipe's own is always tried.
        minutes: for everything: features, trials and the last run.
        trials: stop earlier, after so many.
        resume: the directory of a search to continue, for this many more minutes; `trials` counts all its trials.
        seed: of the split, the folds and the search. In this and the next field, None keeps the recipe's value.
        precision: "auto", "float32" (full precision) or "bfloat16".
        overrides: any other field of the recipe, by its dotted key; it is fixed in every trial.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
        out: the folder of runs.
        name: of the run's directory; None: the UTC time.
        tags: words to find the run by.
        note: what there is to say about the run.
        on_event: called with each event.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such recipe, model or field.
        UsageError: the recipe trains its backbone, optuna is not installed, or there are several processes.
        DataError: the images cannot be used, or `resume` is not the directory of a search.
        IntegrityError: the images or the installed cards have changed since the search began.
    """
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.engine.tuning.choice import chosen_models
    from zoo_core.engine.tuning.directory import Request, TuneDir
    from zoo_core.engine.tuning.search import Budget, Search, require_frozen
    from zoo_core.engine.tuning.study import need_optuna

    budget, labels = Budget(60 * minutes, trials), RunLabels.checked(name=name, tags=tags, note=note)
    need_optuna()
    registry, store = registry or load_registry(), store or Store.default()
    folder = None if data is None else Path(data)
    if resume is None:
        if recipe is None:
            raise UsageError("no recipe given", fix="zoo tune transfer --data FOLDER")
        changed = _changed(overrides, seed, precision)
        plan = registry.plan(recipe, changed, device=device, data=folder)
        require_frozen(plan)
        others = chosen_models(registry, store, models) if models else []
        request = Request(plan, changed, tuple(dict.fromkeys([plan.recipe.model, *others])))
    else:
        request = TuneDir(Path(resume)).read()
        _require_same_search(request, recipe, folder, {**(overrides or {}), "seed": seed, "models": models or None})
        registry.plan_again(request.plan)
    base = request.plan

    def planned(more: Mapping[str, Any]) -> Plan:
        return registry.plan(base.recipe.name, {**request.changed, **more}, device=base.device, data=base.data)

    with distributed_session() as world, handled_events(on_event, progress) as handle:
        if world.count > 1:
            raise UsageError("zoo tune runs in one process", why=f"torchrun started {world.count}", fix="zoo tune")
        search = Search(request, planned, store, budget, handle, labels)
        return search.run(Path(out), None if resume is None else TuneDir(Path(resume)))


def _changed(overrides: Mapping[str, Any] | None, seed: int | None, precision: str | None) -> dict[str, Any]:
    """Return the fields of a recipe that an option changes; None keeps the recipe's seed or precision."""
    common = {"seed": seed, "precision": precision}
    return {**(overrides or {}), **{key: value for key, value in common.items() if value is not None}}


def _require_same_search(request: Request, recipe: str | None, data: Path | None, fields: Mapping[str, Any]) -> None:
    """Refuse options that a search that is resumed cannot take: it has its own."""
    given = [name for name, value in fields.items() if value is not None]
    other = recipe not in (None, request.plan.recipe.name) or data not in (None, request.plan.data)
    if given or (other and not (data and data.absolute() == request.plan.data)):
        why = f"it continues {request.plan.recipe.name} on {request.plan.data or request.plan.dataset.name}"
        raise UsageError("a resumed search keeps its recipe, data and fields", why=why, fix="zoo tune --resume DIR")
