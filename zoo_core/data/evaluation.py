"""Opens the images to evaluate on: a folder, an edition of a dataset, or the data of a run."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo_core.cards.datasets import DatasetCard, Edition
from zoo_core.cards.fields import Split, Task
from zoo_core.data.dataset import load_split
from zoo_core.data.ranks import ONE_PROCESS, Ranks
from zoo_core.data.splits import audit_once
from zoo_core.errors import DataError, UnknownName, UsageError, printable
from zoo_core.events import Event, OnEvent, drive, ignore_event
from zoo_core.images.audit import AuditedImages
from zoo_core.images.folder import scan
from zoo_core.images.image_sets import ImageSet, names_of
from zoo_core.recipes.settings import SplitSettings
from zoo_core.registry.registry import Registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

PREFERRED: tuple[Split, ...] = ("test", "validation", "train")


@dataclass(frozen=True)
class EvaluationImages:
    """Images to evaluate on."""

    source: str  # the folder or CSV file, or the dataset and its edition
    split: Split | Literal["all"]
    images: ImageSet

    @property
    def name(self) -> str:
        """The source and the split."""
        return f"{self.source} ({self.split})"


def open_eval_data(
    registry: Registry,
    store: Store,
    target: str | Path | None,
    classes: tuple[str, ...],
    *,
    data: Path | None = None,
    dataset: str | None = None,
    split: Split | None = None,
    held_out: bool = True,
    world: Ranks = ONE_PROCESS,
    on_event: OnEvent = ignore_event,
) -> EvaluationImages:
    """Open the images to evaluate on.

    Without `data` or `dataset`: the data of the run, or what the accuracy of the model's weights was measured on.
    Without `split`: test, else validation. Images that nobody has split are split as the run's were if it was trained
    on them, wherever they are now; of others all are measured.

    Args:
        registry: resolves names.
        store: where datasets are cached.
        target: a model, or the directory of a run; None: neither, so `data` or `dataset` is given.
        classes: the model's classes, in label order.
        data: a folder or a CSV file of images; they are checked as before training.
        dataset: the name of a dataset, or of an edition: "fashion-mnist.full".
        split: which images.
        held_out: refuse the training images of a run that held none out, because its accuracy on them says little.
        world: the processes that share the work; the first one checks the images.
        on_event: called with the progress of downloads and of the audit.

    Raises:
        UsageError: no images are named, and the target names none; or the run was trained on all of them.
        DataError: the split does not exist, its classes are not the model's, or images are damaged; all are listed.
    """
    if data is None and dataset is None and target is not None:
        data, dataset = default_images(registry, target)
    if data is not None:
        return drive(_open_own(data, _run_of(registry, target), split, classes, world, held_out=held_out), on_event)
    if dataset is None:
        raise UsageError(f"{target} does not name images to evaluate on", fix=f"zoo eval {target} --data DIR")
    card, edition = _edition(registry, dataset)
    _require_same_classes(card.classes, classes)
    chosen = split or _preferred(list(edition.examples))
    images = load_split(card, edition, chosen, store, on_event)
    return EvaluationImages(f"{card.name}.{edition.name}", chosen, images)


def default_images(registry: Registry, target: str | Path) -> tuple[Path | None, str | None]:
    """Return what a run was validated on, or what the accuracy of a model's weights was measured on.

    This is a folder or CSV file, or else "NAME" or "NAME.EDITION" of a dataset; neither if the card names none.
    """
    run = _run_of(registry, target)
    if run is not None:
        plan = run.plan()
        return plan.data, f"{plan.dataset.name}.{plan.edition.name}" if plan.data is None else None
    reported = [one for weights in registry.model(str(target)).weights for one in weights.reported]
    if not reported:
        return None, None
    first = reported[0]
    return None, first.dataset if first.edition is None else f"{first.dataset}.{first.edition}"


def _run_of(registry: Registry, target: str | Path | None) -> RunDir | None:
    """Return the run; None: the target is a model, or there is none."""
    return None if target is None or str(target) in registry.models else RunDir.open(Path(target))


def require_task(images: ImageSet, task: Task) -> None:
    """Raise DataError unless the images have as many labels each as the task says."""
    several = any(isinstance(images.label(index), tuple) for index in range(min(1, len(images))))
    if several != (task == "multi-label"):
        has, predicts = ("any number of labels", "one") if several else ("one label", "any number")
        raise DataError("the images do not fit the model", why=f"each image has {has}; the model predicts {predicts}")


def _open_own(
    source: Path, run: RunDir | None, split: Split | None, classes: tuple[str, ...], world: Ranks, *, held_out: bool
) -> Generator[Event, None, EvaluationImages]:
    """Audit the images to evaluate on; those that nobody has split must all be read."""
    plan, listed = run.plan() if run else None, None
    if world.is_first:
        listed = scan(source)
        _require_same_classes(listed.classes, classes)
        listed = listed if listed.split_by_zoo else listed.only(split or _preferred(list(listed.splits)))
    settings, recorded = (plan.recipe.split, plan.edition.examples) if plan else (SplitSettings(), None)
    audited = yield from audit_once(listed, settings, world, recorded=recorded)
    chosen = split or _preferred(list(audited.counts))
    if split is None and chosen != "test":
        known = run if run is not None and _trained_on(run, source, audited) else None
        if known is None and audited.listed.split_by_zoo:
            audited.stop_if_unreadable(*audited.splits)
            return EvaluationImages(str(source), "all", audited.all_images)
        if known is not None and chosen == "train" and held_out:
            raise UsageError(
                f"{printable(str(source))} has no images that the run was not trained on",
                why="split.folds holds none out; the accuracy by cross-validation is in the report",
                fix=f"zoo eval {shlex.quote(str(known.path))} --data OTHER",
            )
    audited.stop_if_unreadable(chosen)
    return EvaluationImages(str(source), chosen, audited.images(chosen))


def _trained_on(run: RunDir, source: Path, audited: AuditedImages) -> bool:
    """Return whether images that nobody has split are the run's: at their path, or elsewhere with the same split."""
    plan, predictions = run.plan(), run.read_predictions()
    if plan.data is not None and plan.data.resolve() == source.resolve():
        return True
    if predictions is None or audited.counts != plan.edition.examples:
        return False
    validated = audited.images("validation" if "validation" in audited.counts else "train")
    return sorted(names_of(validated)) == sorted(predictions.names)


def _require_same_classes(theirs: tuple[str, ...], classes: tuple[str, ...]) -> None:
    if theirs != classes:
        raise DataError(
            "the images have different classes from the model",
            why=f"images: {', '.join(theirs)}; model: {', '.join(classes)}",
            fix="zoo eval TARGET --data DIR",
        )


def _edition(registry: Registry, name: str) -> tuple[DatasetCard, Edition]:
    if name in registry.datasets:
        return registry.dataset(name), registry.dataset(name).edition()
    dataset, dot, edition = name.rpartition(".")
    if not dot or dataset not in registry.datasets:
        raise UnknownName("dataset", dataset if dot else name, registry.datasets)
    return registry.dataset(dataset), registry.dataset(dataset).edition(edition)


def _preferred(splits: list[Split]) -> Split:
    return next(split for split in PREFERRED if split in splits)
