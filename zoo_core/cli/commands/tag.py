"""`zoo tag`: add tags and a note to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint, print_json
from zoo_core.cli.options import Json, NoteOption
from zoo_core.errors import UsageError
from zoo_core.runs.directory import RunDir
from zoo_core.runs.labels import RunLabels


def tag(
    run: Annotated[Path, typer.Argument(help="The path of a run, finished or not.")],
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Tags to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to remove; may be repeated.")] = None,
    note: NoteOption = None,
    json: Json = False,
) -> None:
    """Add tags and a note to a run, to find it by: zoo runs --filter tag=TAG.

    A note replaces the one before it; --note "" removes it. Without tags and options, print what the run has.
    """
    directory, added = RunDir.open(run), RunLabels.checked(tags=tags or (), note=note)
    labels = directory.read_labels()
    unknown = [one for one in remove or [] if one not in labels.tags]
    if unknown:
        raise UsageError(f"{run} has no tag {unknown[0]!r}", why=f"its tags: {', '.join(labels.tags) or 'none'}")
    if added.tags or remove or note is not None:
        labels = labels.edited(add=added.tags, remove=remove or (), note=None if note is None else added.note)
        directory.write_labels(labels)
    if json:
        return print_json({"run": str(run), "tags": labels.tags, "note": labels.note})
    return eprint(f"{run}\ntags: {', '.join(labels.tags) or 'none'}\nnote: {labels.note or 'none'}")
