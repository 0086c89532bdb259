"""Do an augmentation, an optimizer, a loss and a metric do what their cards declare? Tried on a few tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from zoo_core.cards.components import Component, ComponentKind
from zoo_core.cards.fields import resolve
from zoo_core.engine.checks.guards import guarded, tried
from zoo_core.engine.compute.losses import make_loss
from zoo_core.engine.data.augmentation import augment_batch, augmentation
from zoo_core.engine.training.optimizers import make_optimizer, optimizer_tensors, restore_optimizer
from zoo_core.recipes.component_choice import ComponentChoice, OptimizerChoice
from zoo_core.registry.components import settings_model
from zoo_core.results import Check

IMAGES, CLASSES, SIDE = 6, 3, 16


def component_checks(card: Component) -> Iterator[Check]:
    """Try a component with its default settings; one that has required settings is reported as not tried."""
    yield tried(card.name, "card", "valid", lambda: type(card).model_validate(card.model_dump()) and "valid")
    try:
        settings = settings_model(card)().model_dump(mode="json")
    except ValidationError:
        yield Check(card.name, "with default settings", "no error", "it has required settings", tried=False)
        return
    choice_class = OptimizerChoice if card.kind == "optimizer" else ComponentChoice
    choice = choice_class(name=card.name).bound_to(card, settings)
    yield from guarded(card.name, f"as {card.kind}", lambda: TRIALS[card.kind](choice))


def _augmentation(choice: ComponentChoice) -> Iterator[Check]:
    for channels in (3, 1):
        pixels = _noise(IMAGES, channels, SIDE, SIDE).mul(255).to(torch.uint8)
        transform, again = augmentation([choice]), augmentation([choice])
        first = augment_batch(pixels, transform, ("check",), torch.arange(IMAGES))
        yield Check(choice.name, f"{channels}-channel images", tuple(pixels.shape), tuple(first.shape))
        backwards = augment_batch(pixels.flip(0), again, ("check",), torch.arange(IMAGES).flip(0)).flip(0)
        same = "the same" if torch.equal(first, backwards) else "others"
        yield Check(choice.name, f"{channels}-channel images, the same seeds again", "the same", same)


def _optimizer(choice: ComponentChoice) -> Iterator[Check]:
    assert isinstance(choice, OptimizerChoice)
    straight, before = _network(), _network()
    optimizer = make_optimizer(choice, straight.parameters())
    _take_step(straight, optimizer)
    yield Check(
        choice.name, "parameters after a step", "changed", "unchanged" if _same(straight, before) else "changed"
    )
    resumed = _network()
    resumed.load_state_dict(straight.state_dict())
    restored = make_optimizer(choice, resumed.parameters())
    restore_optimizer(restored, {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()})
    for network, its_optimizer in ((straight, optimizer), (resumed, restored)):
        for _ in range(2):
            _take_step(network, its_optimizer)
    found = "the same" if _same(straight, resumed) else "others"
    yield Check(choice.name, "parameters after a resume, two steps later", "the same", found)


def _loss(choice: ComponentChoice) -> Iterator[Check]:
    logits = _noise(IMAGES, CLASSES).requires_grad_()
    value = make_loss(choice)(logits, _labels())
    yield Check(choice.name, "loss is finite", True, math.isfinite(value.item()))
    value.backward()  # type: ignore[no-untyped-call]
    gradient = logits.grad
    finite = gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.any())
    yield Check(choice.name, "gradient is finite and not zero", True, finite)


def _metric(choice: ComponentChoice) -> Iterator[Check]:
    value = resolve(choice.component.build)(_noise(IMAGES, CLASSES), _labels(), **choice.settings)
    yield Check(choice.name, "metric is a finite float", True, isinstance(value, float) and math.isfinite(value))
    if choice.component.metric_kind == "fraction":
        yield Check(choice.name, "fraction is between 0 and 1", True, 0 <= float(value) <= 1)


TRIALS: Mapping[ComponentKind, Callable[[ComponentChoice], Iterator[Check]]] = MappingProxyType(
    {"augmentation": _augmentation, "optimizer": _optimizer, "loss": _loss, "metric": _metric}
)


def _noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _labels() -> Tensor:
    return torch.arange(IMAGES) % CLASSES


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def _take_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(_noise(IMAGES, 4)), _labels()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
