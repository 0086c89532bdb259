"""Opens the images that a plan is about: a dataset's edition, or a folder of the user's own."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from zoo_core.cards import Split
from zoo_core.engine.data.batches import load_split
from zoo_core.events import Event, OnEvent, ignore_event
from zoo_core.images.audit import audit, images_of, stop_if_fatal
from zoo_core.images.folder import DataIssue, scan
from zoo_core.images.image_sets import ImageSet
from zoo_core.recipes import Plan
from zoo_core.store.store import Store

Splits = Mapping[Split, ImageSet]


def open_splits(
    plan: Plan, store: Store, on_event: OnEvent = ignore_event
) -> Generator[Event, None, tuple[Splits, tuple[DataIssue, ...]]]:
    """Open every split of a plan's data; a folder is audited first, image by image.

    Returns the splits, and what the audit found (nothing for a dataset: its card declares it).

    Raises:
        DataError: the audit found what forbids a run; all of it is listed.
    """
    if plan.data is None:
        editions = plan.edition.examples
        return {split: load_split(plan.dataset, plan.edition, split, store, on_event) for split in editions}, ()
    folder = scan(plan.data)
    findings = yield from audit(folder)
    stop_if_fatal(findings, plan.data)
    return {split: images_of(folder, split) for split, files in folder.splits.items() if files}, findings
