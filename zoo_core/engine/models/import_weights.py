"""Imports a checkpoint as weights of an installed model: which tensors fit, and which are left out."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from zoo_core.cards.models import ImageInput, ModelCard
from zoo_core.disk.atomic import hash_of
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.unpickle import read_foreign
from zoo_core.engine.models.weights import MAX_HEADER, is_in_head, save_tensors
from zoo_core.engine.models.weights_metadata import WeightsMetadata
from zoo_core.errors import DataError, UsageError, printable
from zoo_core.registry.imported_weights import ImportedWeights, ImportedWeightsRecord

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.", "aux_classifier.")  # heads that torchvision's models use in training
COUNTER = "num_batches_tracked"  # of a BatchNorm: old files have none, and it does not affect inference
LISTED = 10  # mismatches


@dataclass(frozen=True)
class MatchedWeights:
    """The tensors of a file that a model takes."""

    tensors: Mapping[str, Tensor]
    covers: Literal["all", "backbone", "head"]
    left_out: tuple[str, ...]  # in words
    filled_in: int  # counters


@dataclass(frozen=True)
class ImportResult:
    """Weights that were imported."""

    name: str
    path: Path
    sha256: str
    covers: Literal["all", "backbone", "head"]
    input: ImageInput
    left_out: tuple[str, ...]


def import_weights(
    card: ModelCard,
    source: Path,
    name: str,
    imported: ImportedWeights,
    *,
    input: ImageInput | None = None,
    license: str = "unknown",
) -> ImportResult:
    """Convert a checkpoint to safetensors, and register what fits the model under a name.

    A file that `zoo export` wrote brings its classes, its preprocessing, and the backbone below a head.

    Args:
        card: the model, with all its weights.
        source: a file that PyTorch or safetensors wrote.
        name: a name for the weights.
        imported: where to save them.
        input: the preprocessing that belongs to them; None: the file's if it says, otherwise the model's.
        license: of the weights.

    Raises:
        UsageError: the name is taken.
        IntegrityError: the file contains something else than tensors.
        DataError: there is no such file, or its tensors do not fit the model; the first mismatches are listed.
    """
    if name in {weights.name for weights in card.weights}:
        raise UsageError(
            f"{card.name} already has weights named {name!r}",
            why=f"imported weights are in {imported.folder}",
            fix=f"zoo import-weights {shlex.quote(str(source))} --model {card.name} --name OTHER",
        )
    if not source.is_file():
        raise DataError(f"{printable(str(source))} is not a file")
    metadata = _metadata(card, source)
    matched = match(card, read_foreign(source), metadata)
    content = save_tensors(matched.tensors)
    record = ImportedWeightsRecord(
        covers=matched.covers,
        backbone=metadata.backbone if metadata and matched.covers == "head" else None,
        classes=metadata.classes if metadata and matched.covers != "backbone" else None,
        thresholds=metadata.thresholds if metadata and matched.covers != "backbone" else None,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        input=input or (metadata.input if metadata else None),
        options=metadata.options if metadata else {},
        license=license,
        origin=printable(source.name),
        origin_sha256=hash_of(source),
    )
    path = imported.keep(card.name, name, content, record)
    return ImportResult(name, path, record.sha256, matched.covers, record.input or card.input, matched.left_out)


def match(card: ModelCard, given: Mapping[str, Tensor], metadata: WeightsMetadata | None = None) -> MatchedWeights:
    """Select the tensors that the model takes: all, its backbone where the file's head is another, or a head alone.

    Raises:
        DataError: a tensor is missing, has another shape, is unknown, or contains NaN or infinity.
    """
    with torch.device("meta"):
        classes, options = (len(metadata.classes), metadata.options) if metadata else (None, {})
        expected = build_model(card, num_classes=classes, options=options).state_dict()
    extra = {name for name in given if name.startswith(AUXILIARY) and name not in expected}
    tensors = {name: tensor for name, tensor in given.items() if name not in extra}
    left_out = ["the auxiliary classifier"] if extra else []
    only_head = metadata is not None and metadata.covers == "head"
    if only_head:
        expected = _of_head(expected, card)
    counters = {name for name in expected if name.endswith(COUNTER) and name not in tensors}
    tensors |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    if card.head is not None and metadata is None and _faults(_of_head(expected, card), _of_head(tensors, card)):
        left_out += ["the head, which does not fit this model"] if _of_head(tensors, card) else []
        expected, tensors = (
            {name: tensor for name, tensor in side.items() if not is_in_head(name, card)}
            for side in (expected, tensors)
        )
    faults = [*_faults(expected, tensors), *_not_finite(tensors)]
    if faults:
        more = f"\nand {len(faults) - LISTED:,} more" if len(faults) > LISTED else ""
        raise DataError(f"these weights do not fit {card.name}", why="\n".join(faults[:LISTED]) + more)
    has_head = card.head is None or any(is_in_head(name, card) for name in tensors)
    covers: Literal["all", "backbone", "head"] = "head" if only_head else "all" if has_head else "backbone"
    return MatchedWeights(tensors, covers, tuple(left_out), len(counters))


def _metadata(card: ModelCard, source: Path) -> WeightsMetadata | None:
    """Return the metadata of a file that zoo exported for this model.

    Raises:
        DataError: it is a head for a backbone that the card does not have.
    """
    with source.open("rb") as file:
        size = file.read(8)
        metadata = WeightsMetadata.read(size + file.read(min(int.from_bytes(size, "little"), MAX_HEADER)))
    if metadata is None or metadata.model != card.name:
        return None
    if metadata.covers == "head" and metadata.backbone not in {weights.name for weights in card.weights}:
        raise DataError(
            f"these weights are a head for the backbone {metadata.backbone!r}",
            why=f"{card.name} has no weights of that name: import them first",
        )
    return metadata


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [f"{name} contains NaN or infinity" for name, tensor in tensors.items() if not tensor.isfinite().all()]


def _of_head(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if is_in_head(name, card)}


def _faults(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"missing {name}" for name in expected if name not in given]
    unknown = [f"unknown {printable(name)}" for name in given if name not in expected]
    different = [
        f"{name} is {_kind(given[name])}, not {_kind(tensor)}"
        for name, tensor in expected.items()
        if name in given and _kind(given[name]) != _kind(tensor)
    ]
    return [*missing, *unknown, *different]


def _kind(tensor: Tensor) -> str:
    numbers = "floats" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{' × '.join(map(str, tensor.shape)) or 'scalar'} {numbers}"
