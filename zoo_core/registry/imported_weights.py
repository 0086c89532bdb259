"""Weights of the user's own: files that were imported, below the configuration folder, each with a record.

    weights/horses-inception/tv-imagenet.safetensors    the tensors
    weights/horses-inception/tv-imagenet.json           what they are: a Record

A record names no code and no path: what it is about lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt, TypeAdapter, ValidationError

from zoo_core.cards import File, FrozenModel, ImageInput, ModelCard, Name, Sha256, Source, WeightsCard
from zoo_core.disk.atomic import atomic_write
from zoo_core.disk.documents import dump_document, load_document
from zoo_core.errors import Problem, UsageError
from zoo_core.registry.pydantic_errors import describe
from zoo_core.registry.settings import UserConfig

MAX_BYTES = 100_000  # of a record


class ImportedWeightsRecord(FrozenModel):
    """What an imported file is."""

    covers: Literal["all", "backbone"]
    size: PositiveInt  # bytes of the safetensors file
    sha256: Sha256
    input: ImageInput | None = None  # None: the model's
    license: str
    origin: str  # the name of the file that was imported
    origin_sha256: Sha256


@dataclass(frozen=True)
class ImportedWeights:
    """The folder of imported weights, by model and name."""

    folder: Path

    @classmethod
    def default(cls) -> ImportedWeights:
        """Return the user's: below $ZOO_CONFIG, else below the platform's configuration folder."""
        return cls(UserConfig.default().path.parent / "weights")

    def keep(self, model: str, name: str, content: bytes, record: ImportedWeightsRecord) -> Path:
        """Keep weights of a model under a name, and return the path of the tensors; raises ResourceError."""
        path = atomic_write(self._path(model, name), content, size=record.size, sha256=record.sha256)
        atomic_write(path.with_suffix(path.suffix + ".json"), dump_document(record.model_dump(mode="json")))
        return path

    def load(self) -> tuple[dict[str, tuple[WeightsCard, ...]], list[Problem]]:
        """Return the cards of all that was imported, by model, and the records that cannot be read."""
        cards: dict[str, tuple[WeightsCard, ...]] = {}
        problems: list[Problem] = []
        for path in self._records():
            model = path.parent.relative_to(self.folder).as_posix()
            try:
                cards[model] = (*cards.get(model, ()), _card(path))
            except (OSError, ValueError, RecursionError) as error:
                why = describe(error) if isinstance(error, ValidationError) else str(error)
                problems.append(Problem(f"weights {path}", why, f"rm {path}, and zoo import-weights again"))
        return cards, problems

    def _records(self) -> Iterator[Path]:
        yield from sorted(self.folder.rglob("*.safetensors.json"))

    def _path(self, model: str, name: str) -> Path:
        for one in (model, name):
            TypeAdapter(Name).validate_python(one)
        return self.folder / model / f"{name}.safetensors"


def with_imported(card: ModelCard, own: Mapping[str, tuple[WeightsCard, ...]]) -> ModelCard:
    """Return a model's card with the user's own weights behind those that it has.

    Raises:
        UsageError: two sets of weights have one name.
    """
    more = own.get(card.name, ())
    if twice := {one.name for one in card.weights} & {one.name for one in more}:
        raise UsageError(
            f"{card.name} has two sets of weights named {min(twice)!r}",
            why="one is its own, the other you have imported",
            fix=f"zoo import-weights FILE --model {card.name} --name ANOTHER, and delete the record of {min(twice)}.",
        )
    return card.model_copy(update={"weights": (*card.weights, *more)}) if more else card


def _card(path: Path) -> WeightsCard:
    with path.open("rb") as file:
        schema, fields = load_document(file.read(MAX_BYTES))
    if not schema and fields.get("covers") == "trunk":
        fields["covers"] = "backbone"
    record = ImportedWeightsRecord.model_validate_json(json.dumps(fields))
    tensors = path.with_suffix("")
    source = Source(uri=tensors.absolute().as_uri(), size=record.size, sha256=record.sha256)
    return WeightsCard(
        name=tensors.name.removesuffix(".safetensors"),
        covers=record.covers,
        file=File(sources=(source,), size=record.size, sha256=record.sha256),
        input=record.input,
        license=record.license,
        provenance=f"imported from {record.origin}, sha256 {record.origin_sha256}",
    )
