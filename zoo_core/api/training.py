"""Train from a recipe, or again from the plan of an existing run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zoo_core.cards.fields import Head
from zoo_core.errors import UsageError, printable
from zoo_core.events import OnEvent
from zoo_core.images.csv_listing import is_csv
from zoo_core.images.folder import names_own_images
from zoo_core.progress import handled_events
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.results import RunResult
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import find_resumable, require_same_recipe
from zoo_core.runs.labels import UNLABELED, RunLabels
from zoo_core.runs.location import folder_name, require_unused
from zoo_core.store.store import Store


def run(
    recipe: str | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    weights: str | None = None,
    head: Head | None = None,
    precision: PrecisionName | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: Path | str | None = None,
    val_fraction: float | None = None,
    group: str | None = None,
    allow_leakage: bool = False,
    device: str = "auto",
    out: Path | str = "runs",
    resume: Path | str | None = None,
    name: str | None = None,
    tags: Iterable[str] = (),
    note: str | None = None,
    checkpoint_every: float | None = None,
    tensorboard: bool = False,
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> RunResult:
    """Train a model from a recipe, and return its metrics and the directory with everything that was saved.

    Args:
        recipe: its name; may be left out with `resume`.
        epochs: passes over the training images. In this and the next fields, None keeps the recipe's value.
        batch_size: images per step.
        lr: the optimizer's learning rate.
        seed: random seed.
        weights: what to start from: "none" (random), "pretrained", or a name on the model's card.
        head: "keep" starts from the head that the weights have, "fresh" from a random one.
        precision: "auto", "float32" (full precision) or "bfloat16".
        overrides: any field by its dotted key: {"optimizer.weight_decay": 1e-4}.
        data: images to train on in place of the recipe's dataset: a folder with class folders, or with train/ and
            validation/; or a CSV file with the columns path and label.
        val_fraction: share of each class of `data` to hold out for validation; None: about one image in five, by hash.
        group: regular expression; images of `data` in whose paths it matches the same text stay on one side.
        allow_leakage: train even if the same image is for training and for validation or testing.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
        out: the folder of runs; a run is filed in a folder named after its recipe or, with `data`, after the data.
        resume: the path of an unfinished run, or "auto": the newest of this recipe and data, if there is one.
        name: of the run's directory, such as "pets-v1"; None: the UTC time.
        tags: words to find the run by in `list_runs`; each without a comma.
        note: what there is to say about the run.
        checkpoint_every: seconds between checkpoints; None: 60, or longer where saving is slow.
        tensorboard: also write the metrics for TensorBoard.
        on_event: called with each event: progress, the metrics of an epoch, a saved checkpoint.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such recipe, or field.
        UsageError: the values do not fit together; or there is a run with this name.
        DataError: images or labels cannot be used.
        Diverged: the loss became NaN or infinite.
        NetworkError: weights or data are not cached and could not be downloaded.
    """
    out, labels = Path(out), RunLabels.checked(name=name, tags=tags, note=note)
    plan, unfinished = planned(
        registry or load_registry(),
        recipe,
        overrides or {},
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        weights=weights,
        head=head,
        precision=precision,
        device=device,
        data=data,
        val_fraction=val_fraction,
        group=group,
        allow_leakage=allow_leakage,
        out=out,
        resume=resume,
        name=name,
    )
    return run_plan(
        plan,
        out=out,
        resume=unfinished,
        labels=labels,
        checkpoint_every=checkpoint_every,
        tensorboard=tensorboard,
        on_event=on_event,
        progress=progress,
        store=store,
    )


def run_plan(
    plan: Plan,
    *,
    out: Path = Path("runs"),
    resume: RunDir | None = None,
    labels: RunLabels = UNLABELED,
    checkpoint_every: float | None = None,
    tensorboard: bool = False,
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    store: Store | None = None,
) -> RunResult:
    """Train from a complete plan, such as that of a run to reproduce; see `run`."""
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.engine.training.run import execute

    if labels.name and resume is None:
        require_unused(out, folder_name(plan), labels.name)
    with distributed_session() as world, handled_events(on_event, progress) as handle:
        return execute(
            plan,
            store=store or Store.default(),
            out=out,
            on_event=handle,
            tensorboard=tensorboard,
            world=world,
            resume=resume,
            checkpoint_every=checkpoint_every,
            labels=labels,
        )


def planned(
    registry: Registry,
    recipe: str | None,
    overrides: Mapping[str, Any],
    *,
    out: Path,
    resume: Path | str | None,
    name: str | None = None,
    device: str = "auto",
    data: Path | str | None = None,
    lr: float | None = None,
    val_fraction: float | None = None,
    group: str | None = None,
    allow_leakage: bool = False,
    **fields: Any,  # noqa: ANN401 - fields of the recipe; None leaves the recipe's value
) -> tuple[Plan, RunDir | None]:
    """Return the plan, and the unfinished run that it resumes, if any; see `run`."""
    split = {"fraction": val_fraction, "group": group, "allow_leakage": allow_leakage or None}
    common = {"optimizer.lr": lr, **fields, **{f"split.{name}": value for name, value in split.items()}}
    changed = dict(overrides) | {key: value for key, value in common.items() if value is not None}
    folder = None if data is None else Path(data)
    unfinished = find_resumable(str(resume), out, recipe, data=folder, name=name) if resume is not None else None
    if unfinished is None:
        if recipe is None:
            why = "there is no unfinished run to resume" if resume else ""
            raise UsageError("no recipe given", why=why, fix="zoo list")
        _require_recipe(registry, recipe)
        return registry.plan(recipe, changed, device=device, data=folder), None
    if recipe or changed or data or device != "auto":
        known = recipe or unfinished.plan().recipe.name
        require_same_recipe(unfinished, registry.plan(known, changed, device=device, data=folder))
    return registry.plan_again(unfinished.plan()), unfinished


def _require_recipe(registry: Registry, name: str) -> None:
    """Raise UsageError for a name that is not a recipe but a model, a dataset, or the user's own images."""
    if name in registry.recipes:
        return
    if name in registry.models:
        fix = f"zoo run RECIPE --set model={name} --data FOLDER"
        raise UsageError(f"{name} is a model, not a recipe", why="a recipe trains a model on a dataset", fix=fix)
    if name in registry.datasets:
        recipes = [recipe.name for recipe in registry.recipes.values() if recipe.dataset == name]
        fix = f"zoo run {recipes[0]}" if recipes else f"zoo run RECIPE --set dataset={name}"
        raise UsageError(f"{name} is a dataset, not a recipe", why="a recipe trains a model on a dataset", fix=fix)
    if names_own_images(name):
        fix = f"zoo run RECIPE --data {shlex.quote(name)}"
        kind = "a CSV file" if is_csv(Path(name)) else "a folder"
        raise UsageError(f"{printable(name)} is {kind}, not a recipe", fix=fix)
