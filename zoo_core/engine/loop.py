"""The training loop, which every trainer of the core shares: epochs of steps, and measurements between them."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor, nn

from zoo_core.engine.allocator import freed_memory_kept
from zoo_core.engine.arithmetic import Arithmetic
from zoo_core.engine.dropout import SharedDropout
from zoo_core.engine.forward import answers
from zoo_core.engine.objective import loss as loss_of, probabilities
from zoo_core.engine.optimizers import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    scheduled_rate,
    set_rate,
)
from zoo_core.engine.order import epoch_order, seed_torch
from zoo_core.engine.ranks import ALONE, Ranks
from zoo_core.errors import Diverged
from zoo_core.recipes import Recipe
from zoo_core.results import Checkpoint, EpochResult, Event, Predictions, Progress, TrainState

MODEL, OPTIMIZER = "model.", "optimizer."  # what a TrainState's tensor names begin with


class Examples(Protocol):
    """Labelled inputs, by index."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each example."""

    @property
    def at_once(self) -> int:
        """How many go well through a model together when nothing is learned."""

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, …) float32 for each (n,) of indices; random draws depend on the epoch and the index alone."""


@dataclass(frozen=True)
class Measured:
    """What a model makes of examples."""

    examples: Examples
    logits: Tensor  # (N, K)

    @property
    def loss(self) -> float:
        """The mean over the examples."""
        return loss_of(self.logits, self.examples.labels).item()

    @property
    def accuracy(self) -> float:
        """A fraction of 1."""
        return (probabilities(self.logits).argmax(dim=1) == self.examples.labels).float().mean().item()

    @property
    def predictions(self) -> Predictions:
        """Each example's probabilities."""
        table = tuple(tuple(row) for row in probabilities(self.logits).tolist())
        return Predictions(self.examples.names, tuple(self.examples.labels.tolist()), table)


@dataclass(frozen=True)
class Share:
    """One rank's part of a batch: some `rows` of it, and what their mean loss counts in the ranks' mean."""

    batch: Tensor  # (n,) indices of examples
    rows: Tensor
    weight: float

    @property
    def indices(self) -> Tensor:
        """The examples to take."""
        return self.batch[self.rows]

    def drawing(self) -> AbstractContextManager[object]:
        """Let dropout draw for the whole batch, where this is not all of it."""
        return nullcontext() if len(self.rows) == len(self.batch) else SharedDropout(len(self.batch), self.rows)


@dataclass(frozen=True)
class Loop:
    """Trains `model` in place, as the recipe says.

    Of each batch, every rank takes its share; the gradient is the mean over the whole batch, so what is learned does
    not depend on how many ranks there are, but for the rounding of sums.
    """

    model: nn.Module
    recipe: Recipe
    device: torch.device
    arithmetic: Arithmetic
    ranks: Ranks = ALONE

    def train(
        self, examples: Examples, measures: Mapping[str, Examples], resume: TrainState | None = None
    ) -> Iterator[Event]:
        """Train on the examples, and after each epoch take the accuracy over each of `measures`, under its name.

        The predictions over "validation_accuracy", where it is measured, go with the epoch's result.

        Raises:
            Diverged: the loss of a batch is no finite number.
        """
        self.arithmetic.laid_out(self.model.to(self.device))
        parameters, fused = self.model.parameters(), not self.arithmetic.plain
        optimizer = make_optimizer(self.recipe.optimizer, parameters, fused=fused)
        if resume is not None:
            assert resume.step == 0, "this loop saves between epochs only"
            _restore(self.model, optimizer, resume)
        module = self.ranks.parallel(self.model)
        with freed_memory_kept():  # here alone: many threads that decode beside it would tear holes into what is kept
            for epoch in range(resume.epoch if resume else 0, self.recipe.epochs):
                yield from self._whole_epoch(module, optimizer, examples, measures, epoch)

    def _whole_epoch(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        examples: Examples,
        measures: Mapping[str, Examples],
        epoch: int,
    ) -> Iterator[Event]:
        """Train for an epoch, and measure."""
        started = perf_counter()
        metrics = {"loss": (yield from self._epoch(module, optimizer, examples, epoch))}
        predictions = None
        for name, measured_on in measures.items():
            measured = yield from self.measure(measured_on, epoch, what=f"epoch {epoch + 1}: {name}")
            self._finite(measured.loss, epoch, len(examples.labels) // self.recipe.batch_size)
            metrics[name] = measured.accuracy
            predictions = measured.predictions if name == "validation_accuracy" else predictions
        yield EpochResult(epoch + 1, self.recipe.epochs, metrics, perf_counter() - started, predictions)
        yield Checkpoint(_state(self.model, optimizer, epoch + 1))

    def measure(self, examples: Examples, epoch: int, *, what: str) -> Generator[Event, None, Measured]:
        """Evaluate the model on examples, in evaluation mode; each rank on its share."""
        self.model.eval()

        def batches_of(indices: Tensor) -> Iterator[Tensor]:
            return examples.stream(torch.split(indices, examples.at_once), epoch)

        total, arithmetic = len(examples.labels), self.arithmetic
        logits = yield from answers(
            self.model, batches_of, total, self.device, arithmetic=arithmetic, ranks=self.ranks, what=what
        )
        return Measured(examples, logits)

    def _epoch(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples, epoch: int
    ) -> Generator[Event, None, float]:
        """Take every step of an epoch, and return the mean of the batches' losses."""
        self.model.train()
        seed, epochs = self.recipe.seed, self.recipe.epochs
        batches = torch.split(epoch_order(seed, epoch, len(examples.labels)), self.recipe.batch_size)
        shares = [self._share(batch) for batch in batches]
        total = 0.0
        inputs = examples.stream([share.indices for share in shares], epoch)
        for step, (share, batch) in enumerate(zip(shares, inputs, strict=True)):
            seed_torch(seed, "step", epoch, step)  # dropout draws the same wherever we began, on every rank
            with self.arithmetic.applied(self.device), share.drawing():
                logits = module(self.arithmetic.ready(batch, self.device))
            loss = loss_of(logits, examples.labels[share.indices].to(self.device)) * share.weight
            total += self._finite(loss.item(), epoch, step)
            set_rate(optimizer, scheduled_rate(self.recipe, (epoch + step / len(batches)) / epochs))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield Progress(f"epoch {epoch + 1}", step + 1, len(batches), "steps")
        return self.ranks.mean(total / len(batches))

    def _share(self, batch: Tensor) -> Share:
        """Return this rank's part of a batch.

        A rank for which nothing is left takes an example along that counts nothing: all must take every step.
        """
        rows = self.ranks.share(torch.arange(len(batch)))
        weight = len(rows) * self.ranks.count / len(batch)
        return Share(batch, rows if len(rows) else torch.tensor([0]), weight)

    def _finite(self, loss: float, epoch: int, step: int) -> float:
        if math.isfinite(loss):
            return loss
        optimizer = self.recipe.optimizer
        raise Diverged(
            f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}",
            why=f"{optimizer.name} with a learning rate of {optimizer.lr:g} left the numbers that can be computed with",
            fix=f"zoo run {self.recipe.name} --lr {optimizer.lr / 10:g}",
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
