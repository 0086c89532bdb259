"""Loading and saving weights as safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from zoo_core.cards import ModelCard, WeightsCard, resolve
from zoo_core.errors import IntegrityError, PluginError, printable
from zoo_core.events import OnEvent, ignore_event
from zoo_core.store.store import Store

MAX_HEADER = 25_000_000  # bytes: some 300,000 tensors


def pin_weights(
    card: ModelCard, weights: Sequence[WeightsCard], store: Store, on_event: OnEvent = ignore_event
) -> tuple[WeightsCard, ...]:
    """Return the weights with the hash of every file; files on the hub are downloaded first, unless they are cached.

    Raises:
        NetworkError: a file was never downloaded, and cannot be now.
    """
    files = [store.pinned(one.file, f"{card.name}.{one.name}", on_event) for one in weights]
    return tuple(one.model_copy(update={"file": file}) for one, file in zip(weights, files, strict=True))


def load_weights(
    model: nn.Module,
    card: ModelCard,
    weights: Sequence[WeightsCard],
    store: Store,
    *,
    fresh_head: bool = False,
    on_event: OnEvent = ignore_event,
) -> dict[str, Tensor]:
    """Load weights into the model, backbone first, and return the tensors that were loaded.

    With `fresh_head`, or with weights of a backbone, the head stays as it is, also where the file has one.

    Raises:
        IntegrityError: a file is damaged.
        PluginError: its tensors do not fit the model.
    """
    tensors: dict[str, Tensor] = {}
    for one in weights:
        found = read_weights(one, f"{card.name}.{one.name}", store, on_event)
        tensors |= resolve(one.convert)(model, found) if one.convert else found
    headless = fresh_head or (bool(weights) and weights[-1].covers == "backbone")
    if headless:
        tensors = {name: tensor for name, tensor in tensors.items() if not is_in_head(name, card)}
    if weights:
        fit_tensors(model, tensors, f"{card.name}.{weights[-1].name}", optional=card.head if headless else None)
    return tensors


def fit_tensors(model: nn.Module, tensors: Mapping[str, Tensor], name: str, *, optional: str | None = None) -> None:
    """Load tensors into the model: every one must be there, save those below the module `optional`, and none beside.

    Raises:
        PluginError: they do not fit; the first ten faults are named.
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
    """Fetch one set of weights and return its tensors; the bytes that are parsed are the bytes that were hashed."""
    file = store.pinned(weights.file, name, on_event)
    path = store.fetch(file, name, on_event)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise IntegrityError(f"{path} is damaged", why="its sha256 is not its name", fix="zoo cache verify")
    return load_tensors(content, name)


def load_tensors(content: bytes, name: str) -> dict[str, Tensor]:
    """Parse a safetensors file.

    Raises:
        IntegrityError: it is none.
    """
    header = int.from_bytes(content[:8], "little")
    if header > MAX_HEADER:
        raise IntegrityError(f"{name} is no safetensors file", why=f"its header would have {header:,} bytes")
    try:
        tensors: dict[str, Tensor] = load(content)
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:  # the others: odd dtypes
        raise IntegrityError(f"{name} is no safetensors file", why=printable(str(error))) from error
    return tensors


def save_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a safetensors file."""
    content: bytes = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
    return content


def is_in_head(name: str, card: ModelCard) -> bool:
    """Tell whether a parameter or buffer of this name belongs to the card's head."""
    return card.head is not None and name.startswith(f"{card.head}.")
