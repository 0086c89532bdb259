"""What people call a run: its name, its tags and a note."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from zoo_core.errors import UsageError, printable

LONGEST_NAME, LONGEST_TAG = 100, 64  # characters
NAME = re.compile(r"\w[\w.+-]*")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|latest", re.I)  # devices on Windows; and zoo's own link


@dataclass(frozen=True)
class RunLabels:
    """A run's name, tags and note. They describe a run for people, and change nothing about what it computes."""

    name: str = ""  # of its directory; "": the UTC time at which it started
    tags: tuple[str, ...] = ()  # without duplicates, in the order in which they were added
    note: str = ""

    @classmethod
    def checked(cls, *, name: str | None = None, tags: Iterable[str] = (), note: str | None = None) -> Self:
        """Return the labels that a person typed; None: not typed.

        Raises:
            UsageError: the name cannot name a directory on every system; or a tag is empty, too long, or has a comma.
        """
        if name is not None:
            _check_name(name)
        labels = cls(name or "", tuple(dict.fromkeys(map(str.strip, tags))), (note or "").strip())
        for tag in labels.tags:
            if not tag or not tag.isprintable() or "," in tag or len(tag) > LONGEST_TAG:
                why = f"a tag has 1 to {LONGEST_TAG} printable characters and no comma"
                raise UsageError(f"{printable(tag)!r:.80} cannot be a tag", why=why)
        return labels

    @classmethod
    def from_document(cls, fields: Mapping[str, Any]) -> Self:
        """Return the tags and the note in run.json, which may be missing.

        Raises:
            TypeError: they are not text.
        """
        tags, note = fields.get("tags", []), fields.get("note", "")
        if not isinstance(note, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise TypeError("its tags and its note are not text")
        return cls(tags=tuple(tags), note=note)

    def edited(self, *, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None) -> Self:
        """Return these labels with tags added and removed, and with another note; None: the same note."""
        gone = set(remove)
        tags = tuple(tag for tag in dict.fromkeys((*self.tags, *add)) if tag not in gone)
        return replace(self, tags=tags, note=self.note if note is None else note)


UNLABELED = RunLabels()


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) and not RESERVED.fullmatch(name) and not name.endswith(".") and len(name) <= LONGEST_NAME:
        return
    why = f"use up to {LONGEST_NAME} letters, digits and any of _ - + . and begin with a letter or a digit"
    if RESERVED.fullmatch(name):
        why = "zoo links latest to the newest run" if name.lower() == "latest" else "Windows reserves this name"
    raise UsageError(f"{printable(name)!r:.120} cannot name a run", why=why, fix="zoo run RECIPE --name pets-v1")
