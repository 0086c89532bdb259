"""Builds a card's model, and takes it apart into backbone and head."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from zoo_core.cards.fields import resolve
from zoo_core.cards.models import ModelCard
from zoo_core.errors import PluginError, UsageError, did_you_mean
from zoo_core.recipes.plan import Plan


def build_model(
    card: ModelCard, *, num_classes: int | None = None, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a card's model with random parameters, in evaluation mode.

    Args:
        card: what to build.
        num_classes: None takes the card's.
        options: passed to the builder by name.

    Raises:
        UsageError: the builder does not take these options.
        PluginError: it returns something else than a module.
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


def build_planned(plan: Plan) -> nn.Module:
    """Build the model of a plan with random parameters: for its classes, with its options and its head.

    Raises:
        UsageError: the recipe asks for another head, and the card names none or the features have no fixed width.
    """
    model = build_model(plan.model, num_classes=len(plan.classes), options=plan.model_options)
    if plan.recipe.head_units is not None:
        _require_head(plan.model)
        head = new_head(model.get_submodule(str(plan.model.head)), plan.recipe.head_units, len(plan.classes))
        model.set_submodule(str(plan.model.head), head)
    return model


def new_head(old: nn.Module, units: int, num_classes: int) -> nn.Module:
    """Return a random head that takes the same features as `old`: linear, or with a hidden layer of `units`.

    Raises:
        UsageError: `old` does not begin with a linear layer.
    """
    first = next((layer for layer in old.modules() if not list(layer.children())), None)
    if not isinstance(first, nn.Linear):
        kind = type(first).__name__
        raise UsageError("this model's head cannot be replaced", why=f"it begins with {kind}, not with a linear layer")
    if units == 0:
        return nn.Linear(first.in_features, num_classes)
    return nn.Sequential(nn.Linear(first.in_features, units), nn.ReLU(), nn.Linear(units, num_classes))


def _require_head(card: ModelCard) -> None:
    if card.head is None:
        raise UsageError(f"{card.name} has no head to replace", why="its card names none")


def remove_head(model: nn.Module, card: ModelCard) -> nn.Module:
    """Replace the head with the identity, in place: the model then maps (N, C, H, W) to features (N, D).

    Raises:
        UsageError: the card names no head.
    """
    if card.head is None:
        raise UsageError(f"{card.name} cannot be built without a head", why="its card names none")
    model.set_submodule(card.head, nn.Identity())
    return model


@contextmanager
def split_head(model: nn.Module, card: ModelCard) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield (backbone, head): inside, the model ends where its head was; afterwards the head is back in its place.

    Raises:
        UsageError: the card names no head.
    """
    if card.head is None:
        raise UsageError(
            f"{card.name} has no head to train alone",
            why="its card names none",
            fix=f"zoo run RECIPE --set model={card.name} --set trainer=supervised",
        )
    head = model.get_submodule(card.head)
    model.set_submodule(card.head, nn.Identity())
    try:
        yield model, head
    finally:
        model.set_submodule(card.head, head)


def freeze_until(model: nn.Module, part: str) -> None:
    """Freeze parameters in order, up to and including the first whose name contains `part`, as the notebook does.

    Buffers are not frozen: in training mode, a BatchNorm keeps updating its statistics, as it does in the notebook.

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
    """Return the SHA-256 of all parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters, trainable or not, without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())
