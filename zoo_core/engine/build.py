"""From a card to a module: building, weights, and the seam between trunk and head."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from zoo_core.cards import ModelCard, WeightsCard, resolve
from zoo_core.errors import IntegrityError, PluginError, UsageError, did_you_mean, printable
from zoo_core.sources import Watch, unwatched
from zoo_core.store import Store

MAX_HEADER = 25_000_000  # bytes: some 300,000 tensors


def build_model(
    card: ModelCard, *, num_classes: int | None = None, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a card's model with random parameters, in evaluation mode.

    Args:
        card: what to build.
        num_classes: None takes the card's.
        options: the builder's own, by name.

    Raises:
        UsageError: the builder does not take these options.
        PluginError: what it returns is no module.
    """
    builder = resolve(card.builder)
    try:
        classes = card.num_classes if num_classes is None else num_classes
        model = builder(num_classes=classes, **card.fixed, **(options or {}))
    except TypeError as error:
        raise UsageError(
            f"{card.name} cannot be built with these options", why=str(error), fix=f"zoo show {card.name}"
        ) from error
    if not isinstance(model, nn.Module):
        raise PluginError(f"the builder of {card.name} returned a {type(model).__name__}", why="not an nn.Module")
    return model.eval()


def pinned(card: ModelCard, weights: Sequence[WeightsCard], store: Store) -> tuple[WeightsCard, ...]:
    """Return the weights with the hash of every file: those on the hub as the Store has pinned them.

    Raises:
        NetworkError: the hub was never asked, and cannot be now.
    """
    files = [store.pinned(one.file, f"{card.name}.{one.name}") for one in weights]
    return tuple(one.model_copy(update={"file": file}) for one, file in zip(weights, files, strict=True))


def load_weights(
    model: nn.Module,
    card: ModelCard,
    weights: Sequence[WeightsCard],
    store: Store,
    *,
    fresh_head: bool = False,
    watch: Watch = unwatched,
) -> dict[str, Tensor]:
    """Load weights into the model, trunk first, and return the tensors that were loaded.

    With `fresh_head`, or with weights of a trunk, the head stays as it is, also where the file has one.

    Raises:
        IntegrityError: a file is damaged.
        PluginError: its tensors do not fit the model.
    """
    tensors: dict[str, Tensor] = {}
    for one in weights:
        found = read_weights(one, f"{card.name}.{one.name}", store, watch)
        tensors |= resolve(one.convert)(model, found) if one.convert else found
    headless = fresh_head or (bool(weights) and weights[-1].covers == "trunk")
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


def read_weights(weights: WeightsCard, name: str, store: Store, watch: Watch = unwatched) -> dict[str, Tensor]:
    """Fetch one set of weights and return its tensors; the bytes that are parsed are the bytes that were hashed."""
    file = store.pinned(weights.file, name)
    path = store.fetch(file, name, watch)
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


@contextmanager
def split_head(model: nn.Module, card: ModelCard) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Give (trunk, head): inside, the model ends where its head began; afterwards it is whole again.

    Raises:
        UsageError: the card names no head.
    """
    if card.head is None:
        raise UsageError(
            f"{card.name} has no head to train alone", why="its card names none", fix="--set trainer=supervised"
        )
    head = model.get_submodule(card.head)
    model.set_submodule(card.head, nn.Identity())
    try:
        yield model, head
    finally:
        model.set_submodule(card.head, head)


def freeze_until(model: nn.Module, part: str) -> None:
    """Freeze parameters in their order, up to and with the first whose name contains `part`: the source's loop.

    Buffers are not frozen: in training mode, a BatchNorm goes on updating its statistics, as it does in the source.

    Raises:
        UsageError: no parameter's name contains it.
    """
    names = [name for name, _ in model.named_parameters()]
    last = next((name for name in names if part in name), None)
    hint, fix = did_you_mean(part, {name.split(".")[0] for name in names}), "zoo show NAME --layers"
    if last is None:
        raise UsageError(f"no parameter's name contains {part!r}{hint}", fix=fix)
    if last == names[-1]:
        raise UsageError(f"freezing up to {part!r} leaves nothing to train", fix=fix)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = False
        if part in name:
            return


def state_hash(module: nn.Module) -> str:
    """Return the sha256 of all parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters, trainable or not; buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def is_in_head(name: str, card: ModelCard) -> bool:
    """Tell whether a parameter or buffer of this name belongs to the card's head."""
    return card.head is not None and name.startswith(f"{card.head}.")
