"""Loading and saving weights as safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from zoo_core.cards.fields import resolve
from zoo_core.cards.models import ModelCard, WeightsCard, WeightsSelection
from zoo_core.errors import IntegrityError, PluginError, printable
from zoo_core.events import OnEvent, ignore_event
from zoo_core.store.store import Store

MAX_HEADER = 25_000_000  # bytes: about 300,000 tensors


def pin_weights(
    card: ModelCard, weights: Sequence[WeightsCard], store: Store, on_event: OnEvent = ignore_event
) -> tuple[WeightsCard, ...]:
    """Return the weights with the hash of every file; files on the Hub are downloaded first, unless they are cached.

    Raises:
        NetworkError: a file was never downloaded, and cannot be now.
    """
    files = [store.pinned(w.file, f"{card.name}.{w.name}", on_event) for w in weights]
    return tuple(w.model_copy(update={"file": file}) for w, file in zip(weights, files, strict=True))


def load_weights(
    model: nn.Module, selection: WeightsSelection, store: Store, *, on_event: OnEvent = ignore_event
) -> dict[str, Tensor]:
    """Load the selected weights into the model, backbone first, and return the tensors that were loaded.

    The head keeps its initialization unless `selection.has_head`, even where the file contains one.

    Raises:
        IntegrityError: a file is damaged.
        PluginError: its tensors do not fit the model.
    """
    card, tensors = selection.model, dict[str, Tensor]()
    for weights in selection.cards:
        content = read_weights(weights, f"{card.name}.{weights.name}", store, on_event)
        tensors |= resolve(weights.convert)(model, content) if weights.convert else content
    if not selection.has_head:
        tensors = {name: tensor for name, tensor in tensors.items() if not is_in_head(name, card)}
    if selection.cards:
        optional = None if selection.has_head else card.head
        fit_tensors(model, tensors, f"{card.name}.{selection.name}", optional=optional)
    return tensors


def fit_tensors(model: nn.Module, tensors: Mapping[str, Tensor], name: str, *, optional: str | None = None) -> None:
    """Load tensors into the model: none may be missing, except below the module `optional`, and none may be left over.

    Raises:
        PluginError: they do not fit; the first ten mismatches are listed.
    """
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise PluginError(f"weights {name} do not fit", why=str(error).partition("\n")[2].strip()) from error
    missing = [key for key in result.missing_keys if optional is None or not key.startswith(f"{optional}.")]
    wrong = [*(f"missing {key}" for key in missing), *(f"unknown {key}" for key in result.unexpected_keys)]
    if wrong:
        raise PluginError(f"weights {name} do not fit", why="; ".join(wrong[:10]))


def read_weights(weights: WeightsCard, name: str, store: Store, on_event: OnEvent = ignore_event) -> dict[str, Tensor]:
    """Download one set of weights and return its tensors; the bytes parsed are the bytes hashed."""
    file = store.pinned(weights.file, name, on_event)
    path = store.fetch(file, name, on_event)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise IntegrityError(f"{path} is damaged", why="its SHA-256 does not match its name", fix="zoo cache verify")
    return load_tensors(content, name)


def load_tensors(content: bytes, name: str) -> dict[str, Tensor]:
    """Parse a safetensors file.

    Raises:
        IntegrityError: it is not one.
    """
    header = int.from_bytes(content[:8], "little")
    if header > MAX_HEADER:
        raise IntegrityError(f"{name} is not a safetensors file", why=f"its header claims {header:,} bytes")
    try:
        tensors: dict[str, Tensor] = load(content)
    except (
        SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # unsupported dtypes raise the others
        raise IntegrityError(f"{name} is not a safetensors file", why=printable(str(error))) from error
    return tensors


def save_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a safetensors file."""
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    content: bytes = save(copies, dict(metadata) if metadata else None)
    return content


def is_in_head(name: str, card: ModelCard) -> bool:
    """Return whether a parameter or buffer of this name belongs to the card's head."""
    return card.head is not None and name.startswith(f"{card.head}.")
