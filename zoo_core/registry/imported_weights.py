"""Weights that the user has imported: files in the configuration folder, each with a record.

    weights/horses-inception/tv-imagenet.safetensors    the tensors
    weights/horses-inception/tv-imagenet.safetensors.json    their ImportedWeightsRecord

A record contains no code and no path: it describes the file next to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt, TypeAdapter, ValidationError

from zoo_core.cards.fields import FrozenModel, Name, Sha256
from zoo_core.cards.files import File, Source
from zoo_core.cards.models import ImageInput, ModelCard, WeightsCard
from zoo_core.disk.atomic import atomic_write
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import Problem, UsageError
from zoo_core.registry.pydantic_errors import describe
from zoo_core.registry.settings import UserConfig

MAX_RECORD_BYTES = 100_000


class ImportedWeightsRecord(FrozenModel):
    """Describes an imported file."""

    covers: Literal["all", "backbone", "head"]
    backbone: Name | None = None  # the backbone weights below a head
    classes: tuple[str, ...] | None = None  # None: the model's
    thresholds: tuple[float, ...] | None = None  # from which each class is predicted; None: one class per image
    size: PositiveInt  # bytes of the safetensors file
    sha256: Sha256
    input: ImageInput | None = None  # None: the model's
    options: Mapping[str, str | int | float | bool] = {}  # for the model's builder
    license: str
    origin: str  # the name of the file that was imported
    origin_sha256: Sha256


@dataclass(frozen=True)
class ImportedWeights:
    """The folder of imported weights, by model and name."""

    folder: Path

    @classmethod
    def default(cls) -> ImportedWeights:
        """Return the folder in $ZOO_CONFIG, else in the platform's configuration folder."""
        return cls(UserConfig.default().path.parent / "weights")

    def keep(self, model: str, name: str, content: bytes, record: ImportedWeightsRecord) -> Path:
        """Store a model's weights under a name, and return the path of the tensors. Raises ResourceError."""
        path = atomic_write(self._path(model, name), content, size=record.size, sha256=record.sha256)
        atomic_write(path.with_suffix(path.suffix + ".json"), dump_document(record.model_dump(mode="json")))
        return path

    def load(self) -> tuple[dict[str, tuple[WeightsCard, ...]], list[Problem]]:
        """Return the cards of all imported weights, by model, and a Problem for each unreadable record."""
        cards: dict[str, tuple[WeightsCard, ...]] = {}
        problems: list[Problem] = []
        for path in self._records():
            model = path.parent.relative_to(self.folder).as_posix()
            try:
                cards[model] = (*cards.get(model, ()), _card(path))
            except (OSError, ValueError, RecursionError) as error:
                why = describe(error) if isinstance(error, ValidationError) else str(error)
                problems.append(Problem(f"weights {path}", why, f"rm {path}"))
        return cards, problems

    def _records(self) -> Iterator[Path]:
        yield from sorted(self.folder.rglob("*.safetensors.json"))

    def _path(self, model: str, name: str) -> Path:
        for part in (model, name):
            TypeAdapter(Name).validate_python(part)
        return self.folder / model / f"{name}.safetensors"


def with_imported(card: ModelCard, imported: Mapping[str, tuple[WeightsCard, ...]]) -> ModelCard:
    """Return a model's card with the user's imported weights after its own.

    Raises:
        UsageError: two sets of weights have the same name.
    """
    more = imported.get(card.name, ())
    if duplicates := {weights.name for weights in card.weights} & {weights.name for weights in more}:
        name = min(duplicates)
        raise UsageError(
            f"{card.name} has two sets of weights named {name!r}",
            why=f"one is on its card, the other was imported: import it again as --name ANOTHER, and delete {name!r}",
            fix=f"zoo import-weights FILE --model {card.name} --name ANOTHER",
        )
    return card.model_copy(update={"weights": (*card.weights, *more)}) if more else card


def _card(path: Path) -> WeightsCard:
    with path.open("rb") as file:
        schema, fields = load_document(file.read(MAX_RECORD_BYTES))
    if not schema and fields.get("covers") == "trunk":
        fields["covers"] = "backbone"
    record = ImportedWeightsRecord.model_validate_json(json.dumps(fields))
    tensors = path.with_suffix("")
    source = Source(uri=tensors.absolute().as_uri(), size=record.size, sha256=record.sha256)
    return WeightsCard(
        name=tensors.name.removesuffix(".safetensors"),
        covers=record.covers,
        backbone=record.backbone,
        classes=record.classes,
        thresholds=record.thresholds,
        file=File(sources=(source,), size=record.size, sha256=record.sha256),
        input=record.input,
        options=record.options,
        license=record.license,
        provenance=f"imported from {record.origin}, SHA-256 {record.origin_sha256}",
    )
