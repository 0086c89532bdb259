"""Opens the images of a plan: a dataset's edition, or the user's folder."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from zoo_core.cards.fields import Split
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.data.batches import load_split
from zoo_core.errors import IntegrityError
from zoo_core.events import AuditNote, Event, OnEvent, ignore_event
from zoo_core.images.audit import audit
from zoo_core.images.folder import scan
from zoo_core.images.image_sets import ImageSet
from zoo_core.images.issues import DataIssue
from zoo_core.recipes.plan import Plan
from zoo_core.store.store import Store

Splits = Mapping[Split, ImageSet]


@dataclass(frozen=True)
class OpenedData:
    """The images of a plan, by split."""

    plan: Plan  # with the number of images in each split, which for class folders only the audit knows
    splits: Splits
    issues: tuple[DataIssue, ...] = ()  # found by the audit of a folder
    class_counts: Mapping[Split, Mapping[str, int]] = field(default_factory=dict)  # images by class; of a folder


def open_splits(
    plan: Plan, store: Store, on_event: OnEvent = ignore_event, world: World = SINGLE_PROCESS
) -> Generator[Event, None, OpenedData]:
    """Open every split of a plan's data. A folder is audited first, by the first rank for all.

    Yields the progress of the audit, and an AuditNote for each issue that does not stop the run.

    Raises:
        DataError: the audit found an error; the message lists all issues.
        IntegrityError: the folder's images differ from those that the plan was made for.
    """
    if plan.data is None:
        editions = plan.edition.examples
        return OpenedData(
            plan, {split: load_split(plan.dataset, plan.edition, split, store, on_event) for split in editions}
        )
    folder = world.broadcast((yield from audit(scan(plan.data))) if world.is_first else None)
    assert folder is not None
    folder.stop_if_fatal()
    splits = {split: folder.images(split) for split, files in folder.splits.items() if files}
    counts = {split: len(images) for split, images in splits.items()}
    _stop_if_changed(plan, counts)
    yield from (AuditNote(issue.what, issue.paths) for issue in folder.issues)
    return OpenedData(plan.with_examples(counts), splits, folder.issues, folder.class_counts)


def _stop_if_changed(plan: Plan, counts: Mapping[Split, int]) -> None:
    """Compare with the plan's counts; the plan of a new run on class folders has only their total."""
    expected = plan.edition.examples
    if counts != expected and (set(expected) != {"train"} or sum(counts.values()) != sum(expected.values())):
        then, now = (", ".join(f"{count:,} {split}" for split, count in each.items()) for each in (expected, counts))
        raise IntegrityError(
            f"the images in {plan.data} have changed since the plan was made", why=f"then: {then}; now: {now}"
        )
