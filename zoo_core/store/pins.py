"""Pins: the commit, size and hash that a file on the Hugging Face Hub had when it was first downloaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from zoo_core.cards.files import File, HubFile
from zoo_core.disk.atomic import atomic_write
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.store.cache_folder import CacheFolder


@dataclass(frozen=True)
class Pins:
    """The pins of a cache folder: one JSON document for each file, named by a hash of what the Hub was asked for."""

    folder: CacheFolder

    def get(self, file: HubFile) -> File | None:
        """Return a file's pin; None if it was never downloaded, or its pin is damaged."""
        return read_pin(self.folder.root / "pins" / _name(file))

    def save(self, file: HubFile, content: File) -> None:
        """Pin a file to a content that was downloaded and verified."""
        atomic_write(self.folder.subfolder("pins") / _name(file), dump_document(content.model_dump(mode="json")))

    def all(self) -> dict[str, File]:
        """Return every readable pin by its key, the hash in its name."""
        pins = {path.stem: read_pin(path) for path in self.folder.paths("pins")}
        return {key: pin for key, pin in pins.items() if pin is not None}


def read_pin(path: Path) -> File | None:
    """Return the pin in a file, or None if there is none that can be read."""
    try:
        return File.model_validate_json(json.dumps(load_document(path.read_bytes())[1]))
    except (OSError, ValueError, RecursionError):
        return None


def _name(file: HubFile) -> str:
    return f"{hashlib.sha256(file.model_dump_json().encode()).hexdigest()}.json"
