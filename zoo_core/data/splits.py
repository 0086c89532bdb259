"""Opens the images of a plan: a dataset's edition, or the user's folder or CSV file."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace

from zoo_core.cards.fields import Split
from zoo_core.cards.models import ImageInput
from zoo_core.data.dataset import load_split
from zoo_core.data.ranks import ONE_PROCESS, Ranks
from zoo_core.errors import IntegrityError
from zoo_core.events import AuditNote, Event, OnEvent, ignore_event
from zoo_core.images import findings
from zoo_core.images.audit import AuditedImages, audit
from zoo_core.images.folder import scan
from zoo_core.images.image_sets import ImageSet
from zoo_core.images.issues import DataIssue, counted
from zoo_core.images.listing import ListedImages
from zoo_core.recipes.plan import Plan
from zoo_core.recipes.settings import SplitSettings
from zoo_core.store.store import Store

Splits = Mapping[Split, ImageSet]
MAX_CLASSES = 20  # listed one by one in the note on class counts


@dataclass(frozen=True)
class OpenedData:
    """The images of a plan, by split."""

    plan: Plan  # with the number of images in each split, which only the audit knows if nobody has split them
    splits: Splits
    issues: tuple[DataIssue, ...] = ()  # found by the audit of the user's images
    class_counts: Mapping[Split, Mapping[str, int]] = field(default_factory=dict)  # images by class; of the user's


def open_splits(
    plan: Plan,
    store: Store,
    on_event: OnEvent = ignore_event,
    world: Ranks = ONE_PROCESS,
    *,
    resumed: bool = False,
) -> Generator[Event, None, OpenedData]:
    """Open every split of a plan's data. The user's own images are audited first, by the first rank for all.

    Yields the progress of the audit, and an AuditNote for the class counts and each issue that does not stop the run. A
    run that is `resumed` is not stopped by an image in several splits: it was allowed when the run began.

    Raises:
        DataError: the audit found an error; the message lists all issues.
        IntegrityError: the images differ from those that the plan was made for.
    """
    if plan.data is None:
        editions = plan.edition.examples
        return OpenedData(
            plan, {split: load_split(plan.dataset, plan.edition, split, store, on_event) for split in editions}
        )
    settings, recorded = plan.recipe.split, plan.edition.examples
    if resumed:
        settings = settings.model_copy(update={"allow_leakage": True})
    listed = scan(plan.data) if world.is_first else None
    images = yield from audit_once(listed, settings, world, shown_as=plan.input, recorded=recorded)
    images.stop_if_fatal(f"zoo run {plan.recipe.name} --data {shlex.quote(str(plan.data))}")
    _stop_if_changed(plan, images.counts)
    if "split.folds" in plan.trainer.uses:
        images = replace(images, issues=(*images.issues, *findings.few_to_validate(images.listed, images.splits)))
    yield from _notes(images, settings.folds)
    splits = {split: images.images(split) for split in images.counts}
    return OpenedData(plan.with_examples(images.counts), splits, images.issues, images.class_counts)


def audit_once(
    listed: ListedImages | None,
    settings: SplitSettings,
    world: Ranks,
    *,
    shown_as: ImageInput | None = None,
    recorded: Mapping[Split, int] | None = None,
) -> Generator[Event, None, AuditedImages]:
    """Audit images on the first rank, and return what it found on every rank; `listed` is None on the others."""
    found = None
    if listed is not None:
        found = yield from audit(listed, settings, shown_as=shown_as, recorded=recorded)
    found = world.broadcast(found)
    assert found is not None
    return found


def _notes(images: AuditedImages, folds: int | None) -> Iterator[AuditNote]:
    counts = images.class_counts
    totals = ", ".join(f"{number:,} {split}" for split, number in images.counts.items()) + " images"
    totals += f", validated by {folds}-fold cross-validation" if folds is not None else ""
    lines = [
        f"{name}: {', '.join(f'{counts[split][name]:,} {split}' for split in images.counts)}" for name in images.classes
    ]
    if more := len(lines) - MAX_CLASSES if len(lines) > MAX_CLASSES else 0:
        lines = [*lines[:MAX_CLASSES], f"and {counted(more, 'class')} more"]
    yield AuditNote(f"{totals}{_majority(images, folds)}", tuple(lines))
    yield from (AuditNote(issue.what, issue.paths) for issue in images.issues)


def _majority(images: AuditedImages, folds: int | None) -> str:
    """Return what the most common class would score, which every accuracy should be compared with."""
    validated: Split = "validation" if folds is None else "train"
    measured: Split = "test" if "test" in images.counts else validated
    if measured not in images.counts or images.listed.task != "single-label":
        return ""
    counts = images.class_counts[measured]
    name = max(counts, key=lambda name: counts[name])
    share = counts[name] / images.counts[measured]
    return f"; always answering {name} would be right for {share:.1%} of the {measured} images"


def _stop_if_changed(plan: Plan, counts: Mapping[Split, int]) -> None:
    """Compare with the plan's counts; the plan of a new run has only the total of images that nobody has split."""
    expected = plan.edition.examples
    if counts != expected and ("validation" in expected or sum(counts.values()) != sum(expected.values())):
        then, now = (", ".join(f"{count:,} {split}" for split, count in each.items()) for each in (expected, counts))
        raise IntegrityError(
            f"the images in {plan.data} have changed since the plan was made", why=f"then: {then}; now: {now}"
        )
