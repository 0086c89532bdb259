"""The training loop, which every trainer of the core shares: epochs of steps, and measurements between them."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor, nn

from zoo_core.engine.objective import loss as loss_of
from zoo_core.engine.objective import probabilities
from zoo_core.engine.optimizers import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    scheduled_rate,
    set_rate,
)
from zoo_core.engine.order import epoch_order, seed_for
from zoo_core.errors import Diverged
from zoo_core.recipes import Recipe
from zoo_core.results import Checkpoint, EpochResult, Event, Predictions, Progress, TrainState

EVALUATION_BATCH = 64
MODEL, OPTIMIZER = "model.", "optimizer."  # what a TrainState's tensor names begin with


class Examples(Protocol):
    """Labelled inputs, by index."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each example."""

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, …) float32 for each (n,) of indices; random draws depend on the epoch and the index alone."""


@dataclass(frozen=True)
class Measured:
    """What a model makes of examples."""

    loss: float  # mean over examples
    accuracy: float  # fraction of 1
    predictions: Predictions


def train(
    model: nn.Module,
    examples: Examples,
    measures: Mapping[str, Examples],
    recipe: Recipe,
    *,
    device: torch.device,
    resume: TrainState | None = None,
) -> Iterator[Event]:
    """Train on the examples, and after each epoch take the accuracy over each of `measures`, under its name.

    The predictions over "validation_accuracy", where it is measured, go with the epoch's result.

    Raises:
        Diverged: the loss of a batch is no finite number.
    """
    model.to(device)
    optimizer = make_optimizer(recipe.optimizer, model.parameters())
    if resume is not None:
        assert resume.step == 0, "this loop saves between epochs only"
        _restore(model, optimizer, resume)
    for epoch in range(resume.epoch if resume else 0, recipe.epochs):
        started = perf_counter()
        metrics = {"loss": (yield from _epoch(model, optimizer, examples, recipe, epoch, device))}
        predictions = None
        for name, measured_on in measures.items():
            measured = yield from measure(model, measured_on, epoch, device, what=f"epoch {epoch + 1}: {name}")
            _finite(measured.loss, recipe, epoch, len(examples.labels) // recipe.batch_size)
            metrics[name] = measured.accuracy
            predictions = measured.predictions if name == "validation_accuracy" else predictions
        yield EpochResult(epoch + 1, recipe.epochs, metrics, perf_counter() - started, predictions)
        yield Checkpoint(_state(model, optimizer, epoch + 1))


def measure(
    model: nn.Module, examples: Examples, epoch: int, device: torch.device, *, what: str
) -> Generator[Event, None, Measured]:
    """Evaluate the model on examples, in evaluation mode."""
    model.eval()
    rows, total = [], 0.0
    batches = torch.split(torch.arange(len(examples.labels)), EVALUATION_BATCH)
    inputs = examples.stream(batches, epoch)
    for done, (indices, batch) in enumerate(zip(batches, inputs, strict=True), start=1):
        with torch.inference_mode():  # never across a yield: the mode is the thread's, not the generator's
            logits = model(batch.to(device))
            total += loss_of(logits, examples.labels[indices].to(device)).item() * len(indices)
            rows.append(probabilities(logits).cpu())
        yield Progress(what, done, len(batches))
    return _measured(torch.cat(rows), examples, total)


def _measured(rows: Tensor, examples: Examples, total: float) -> Measured:
    correct = (rows.argmax(dim=1) == examples.labels).float().mean().item()
    table = tuple(tuple(row) for row in rows.tolist())
    predictions = Predictions(examples.names, tuple(examples.labels.tolist()), table)
    return Measured(total / len(rows), correct, predictions)


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    recipe: Recipe,
    epoch: int,
    device: torch.device,
) -> Generator[Event, None, float]:
    """Take every step of an epoch, and return the mean of the batches' losses."""
    model.train()
    batches = torch.split(epoch_order(recipe.seed, epoch, len(examples.labels)), recipe.batch_size)
    total = 0.0
    for step, (indices, inputs) in enumerate(zip(batches, examples.stream(batches, epoch), strict=True)):
        torch.manual_seed(seed_for(recipe.seed, "step", epoch, step))  # dropout draws the same wherever we began
        loss = loss_of(model(inputs.to(device)), examples.labels[indices].to(device))
        total += _finite(loss.item(), recipe, epoch, step)
        set_rate(optimizer, scheduled_rate(recipe, (epoch + step / len(batches)) / recipe.epochs))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield Progress(f"epoch {epoch + 1}", step + 1, len(batches))
    return total / len(batches)


def _finite(loss: float, recipe: Recipe, epoch: int, step: int) -> float:
    if math.isfinite(loss):
        return loss
    rate = recipe.optimizer.lr
    raise Diverged(
        f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}",
        why=f"{recipe.optimizer.name} with a learning rate of {rate:g} left the numbers that can be computed with",
        fix=f"zoo run {recipe.name} --lr {rate / 10:g}",
    )


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> TrainState:
    tensors = {MODEL + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {OPTIMIZER + name: tensor for name, tensor in optimizer_tensors(optimizer).items()}
    return TrainState(epoch, 0, tensors)


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
    model.load_state_dict(_below(MODEL, state))
    restore_optimizer(optimizer, _below(OPTIMIZER, state))


def _below(prefix: str, state: TrainState) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
