"""From a foreign file to weights of the user's own for a model: which tensors fit, and what was left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from zoo_core.cards import ImageInput, ModelCard
from zoo_core.disk.atomic import hash_of
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.unpickle import read_foreign
from zoo_core.engine.models.weights import is_in_head, save_tensors
from zoo_core.errors import DataError, UsageError, printable
from zoo_core.registry.imported_weights import ImportedWeights, ImportedWeightsRecord

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.", "aux_classifier.")  # heads that torchvision's models have in training
COUNTER = "num_batches_tracked"  # of a BatchNorm; files of long ago have none, and its value changes no answer
LISTED = 10  # faults that are named


@dataclass(frozen=True)
class MatchedWeights:
    """The tensors of a file that a model takes."""

    tensors: Mapping[str, Tensor]
    covers: Literal["all", "backbone"]
    left_out: tuple[str, ...]  # in words
    filled_in: int  # counters


@dataclass(frozen=True)
class ImportResult:
    """Weights that were imported."""

    name: str
    path: Path
    sha256: str
    covers: Literal["all", "backbone"]
    input: ImageInput
    left_out: tuple[str, ...]


def import_weights(
    card: ModelCard,
    source: Path,
    name: str,
    own: ImportedWeights,
    *,
    input: ImageInput | None = None,
    license: str = "unknown",
) -> ImportResult:
    """Read a foreign file, and keep what fits the model under a name of the user's.

    Args:
        card: the model, with all weights that it has already.
        source: what PyTorch or safetensors has written.
        name: what to call the weights.
        own: where to keep them.
        input: the preprocessing that belongs to them; None: the model's.
        license: of the weights.

    Raises:
        UsageError: the name is taken.
        IntegrityError: the file holds anything but tensors.
        DataError: there is no such file, or its tensors do not fit the model; the first faults are named.
    """
    if name in {one.name for one in card.weights}:
        raise UsageError(
            f"{card.name} has weights named {name!r} already",
            fix=f"--name ANOTHER; what was imported is in {own.folder}",
        )
    if not source.is_file():
        raise DataError(f"{printable(str(source))} is no file")
    fitted = fit(card, read_foreign(source))
    content = save_tensors(fitted.tensors)
    record = ImportedWeightsRecord(
        covers=fitted.covers,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        input=input,
        license=license,
        origin=printable(source.name),
        origin_sha256=hash_of(source),
    )
    path = own.keep(card.name, name, content, record)
    return ImportResult(name, path, record.sha256, fitted.covers, input or card.input, fitted.left_out)


def fit(card: ModelCard, given: Mapping[str, Tensor]) -> MatchedWeights:
    """Pick what the model takes: all of it, or its backbone where the file's head is another.

    Raises:
        DataError: a tensor of the backbone is missing, has another shape, or is not known.
    """
    with torch.device("meta"):
        wanted = build_model(card).state_dict()
    beside = {name for name in given if name.startswith(AUXILIARY) and name not in wanted}
    tensors = {name: tensor for name, tensor in given.items() if name not in beside}
    left_out = ["the auxiliary classifier"] if beside else []
    counters = {name for name in wanted if name.endswith(COUNTER) and name not in tensors}
    tensors |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    if card.head is not None and _faults(_of_head(wanted, card), _of_head(tensors, card)):
        left_out += ["its head, which is not this model's"] if _of_head(tensors, card) else []
        wanted, tensors = (
            {name: tensor for name, tensor in side.items() if not is_in_head(name, card)} for side in (wanted, tensors)
        )
    faults = _faults(wanted, tensors)
    if faults:
        more = f"\nand {len(faults) - LISTED:,} more" if len(faults) > LISTED else ""
        raise DataError(f"these weights do not fit {card.name}", why="\n".join(faults[:LISTED]) + more)
    whole = card.head is None or any(is_in_head(name, card) for name in tensors)
    return MatchedWeights(tensors, "all" if whole else "backbone", tuple(left_out), len(counters))


def _of_head(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if is_in_head(name, card)}


def _faults(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"missing {name}" for name in wanted if name not in given]
    unknown = [f"unknown {printable(name)}" for name in given if name not in wanted]
    other = [
        f"{name} is {_kind(given[name])}, not {_kind(tensor)}"
        for name, tensor in wanted.items()
        if name in given and _kind(given[name]) != _kind(tensor)
    ]
    return [*missing, *unknown, *other]


def _kind(tensor: Tensor) -> str:
    numbers = "floats" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{' × '.join(map(str, tensor.shape)) or 'one'} {numbers}"
