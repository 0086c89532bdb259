"""The training loop, which every trainer of the core shares: epochs of steps, and measurements between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor, nn

from zoo_core.engine.compute.batched import infer_batches
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.losses import cross_entropy as loss_of, probabilities
from zoo_core.engine.compute.memory import retain_freed_memory
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.compute.seeding import epoch_order, seed_torch
from zoo_core.engine.training.fast_path.pool_before_relu import pool_before_relu
from zoo_core.engine.training.fast_path.shared_dropout import SharedDropout
from zoo_core.engine.training.optimizers import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    scheduled_rate,
    set_rate,
)
from zoo_core.errors import Diverged, IntegrityError
from zoo_core.events import Checkpoint, EpochResult, Event, Predictions, Progress, TrainState, never_due
from zoo_core.recipes import Recipe

AGREE_EVERY = 16  # steps after which ranks ask one another whether a checkpoint is due
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
    def inference_batch_size(self) -> int:
        """How many go well through a model together when nothing is learned."""

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, …) float32 for each (n,) of indices; random draws depend on the epoch and the index alone."""


@dataclass(frozen=True)
class EvaluatedExamples:
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
class BatchShard:
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
class EpochProgress:
    """The part of an epoch that is done: steps, and this rank's sum of the batches' losses."""

    step: int = 0
    total: float = 0.0

    @classmethod
    def of(cls, state: TrainState, world: World) -> EpochProgress:
        """Return where a state stands; other ranks than those that saved it share their sum."""
        totals: list[float] = state.values["totals"]
        return cls(state.step, totals[world.rank] if len(totals) == world.count else sum(totals) / len(totals))


@dataclass(frozen=True)
class _LoopState:
    """What stays the same from step to step."""

    module: nn.Module  # the model, or what averages its gradients over the ranks
    optimizer: torch.optim.Optimizer
    examples: Examples
    measures: Mapping[str, Examples]

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.examples.labels


@dataclass(frozen=True)
class TrainingLoop:
    """Trains `model` in place, as the recipe says.

    Of each batch, every rank takes its share; the gradient is the mean over the whole batch, so what is learned does
    not depend on how many ranks there are, but for the rounding of sums.
    """

    model: nn.Module
    recipe: Recipe
    device: torch.device
    precision: Precision
    world: World = SINGLE_PROCESS
    due: Callable[[], bool] = never_due  # whether a Checkpoint is wanted inside an epoch

    def train(
        self, examples: Examples, measures: Mapping[str, Examples], resume: TrainState | None = None
    ) -> Iterator[Event]:
        """Train on the examples, and after each epoch take the accuracy over each of `measures`, under its name.

        The predictions over "validation_accuracy", where it is measured, go with the epoch's result.

        Raises:
            Diverged: the loss of a batch is no finite number.
        """
        self.precision.to_memory_format(self.model.to(self.device))
        parameters, fused = self.model.parameters(), not self.precision.plain
        optimizer = make_optimizer(self.recipe.optimizer, parameters, fused=fused)
        begun = EpochProgress() if resume is None else self._restored(optimizer, resume)
        training = _LoopState(self.world.wrap_ddp(self.model), optimizer, examples, measures)
        rearranged = nullcontext() if self.precision.plain else pool_before_relu(self.model)
        # kept here alone: many threads that decode beside it would tear holes into what is kept
        with retain_freed_memory(), rearranged:
            for epoch in range(resume.epoch if resume else 0, self.recipe.epochs):
                yield from self._whole_epoch(training, epoch, begun)
                begun = EpochProgress()

    def _whole_epoch(self, training: _LoopState, epoch: int, begun: EpochProgress) -> Iterator[Event]:
        """Train for an epoch, or the rest of it, and measure."""
        started = perf_counter()
        begun = yield from self._epoch(training, epoch, begun)
        self.world.broadcast_buffers(self.model.buffers())  # each has running statistics of its own share
        metrics = {"loss": self.world.all_reduce_mean(begun.total / begun.step)}
        predictions = None
        for name, measured_on in training.measures.items():
            steps = self.measure(measured_on, epoch, what=f"epoch {epoch + 1}: {name}")
            measured = yield from self._interruptible(steps, training, epoch, begun)
            self._finite(measured.loss, epoch, begun.step - 1)
            metrics[name] = measured.accuracy
            predictions = measured.predictions if name == "validation_accuracy" else predictions
        yield EpochResult(epoch + 1, self.recipe.epochs, metrics, perf_counter() - started, predictions)
        yield self._checkpoint(training, epoch + 1, EpochProgress())

    def measure(self, examples: Examples, epoch: int, *, what: str) -> Generator[Event, None, EvaluatedExamples]:
        """Evaluate the model on examples, in evaluation mode; each rank on its share."""
        self.model.eval()

        def batches_of(indices: Tensor) -> Iterator[Tensor]:
            return examples.stream(torch.split(indices, examples.inference_batch_size), epoch)

        total, precision = len(examples.labels), self.precision
        logits = yield from infer_batches(
            self.model, batches_of, total, self.device, precision=precision, world=self.world, what=what
        )
        return EvaluatedExamples(examples, logits)

    def _epoch(self, training: _LoopState, epoch: int, begun: EpochProgress) -> Generator[Event, None, EpochProgress]:
        """Take every step of an epoch that is not taken yet, and return what they come to."""
        self.model.train()
        seed, epochs, optimizer, labels = self.recipe.seed, self.recipe.epochs, training.optimizer, training.labels
        batches = torch.split(epoch_order(seed, epoch, len(labels)), self.recipe.batch_size)
        shares = [self._share(batch) for batch in batches[begun.step :]]
        inputs = training.examples.stream([share.indices for share in shares], epoch)
        for share, batch in zip(shares, inputs, strict=True):
            seed_torch(seed, "step", epoch, begun.step)  # dropout draws the same wherever we began, on every rank
            with self.precision.autocast(self.device), share.drawing():
                logits = training.module(self.precision.to_device(batch, self.device))
            loss = loss_of(logits, labels[share.indices].to(self.device)) * share.weight
            value = self._finite(loss.item(), epoch, begun.step)
            set_rate(optimizer, scheduled_rate(self.recipe, (epoch + begun.step / len(batches)) / epochs))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            begun = EpochProgress(begun.step + 1, begun.total + value)
            yield Progress(f"epoch {epoch + 1}", begun.step, len(batches), "steps")
            if self._wanted(begun.step):
                yield self._checkpoint(training, epoch, begun)
        return begun

    def _interruptible(
        self, steps: Generator[Event, None, EvaluatedExamples], training: _LoopState, epoch: int, begun: EpochProgress
    ) -> Generator[Event, None, EvaluatedExamples]:
        """Measure, and let the state before it be saved on the way; ranks, whose shares differ, go through."""
        while True:
            try:
                yield next(steps)
            except StopIteration as stop:
                measured: EvaluatedExamples = stop.value
                return measured
            if self.world.count == 1 and self.due():
                yield self._checkpoint(training, epoch, begun)

    def _wanted(self, step: int) -> bool:
        """Tell whether a checkpoint is due; ranks must agree, and do so every few steps."""
        if self.world.count == 1:
            return self.due()
        return step % AGREE_EVERY == 0 and self.world.all_reduce_mean(float(self.due())) > 0

    def _checkpoint(self, training: _LoopState, epoch: int, begun: EpochProgress) -> Checkpoint:
        tensors = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in optimizer_tensors(training.optimizer).items()}
        return Checkpoint(TrainState(epoch, begun.step, tensors, {"totals": self.world.all_gather(begun.total)}))

    def _restored(self, optimizer: torch.optim.Optimizer, state: TrainState) -> EpochProgress:
        """Put the model and the optimizer back to a state, and return the part of its epoch that is done.

        Raises:
            IntegrityError: the state is another model's, optimizer's or version's.
        """
        try:
            _restore(self.model, optimizer, state)
            return EpochProgress.of(state, self.world)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise IntegrityError("a checkpoint does not fit this run", why=why, fix="zoo run RECIPE") from error

    def _share(self, batch: Tensor) -> BatchShard:
        """Return this rank's part of a batch.

        A rank for which nothing is left takes an example along that counts nothing: all must take every step.
        """
        rows = self.world.shard(torch.arange(len(batch)))
        weight = len(rows) * self.world.count / len(batch)
        return BatchShard(batch, rows if len(rows) else torch.tensor([0]), weight)

    def _finite(self, loss: float, epoch: int, step: int) -> float:
        if math.isfinite(loss):
            return loss
        optimizer = self.recipe.optimizer
        raise Diverged(
            f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}",
            why=f"{optimizer.name} with a learning rate of {optimizer.lr:g} left the numbers that can be computed with",
            fix=f"zoo run {self.recipe.name} --lr {optimizer.lr / 10:g}",
        )


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
    model.load_state_dict(_below(MODEL, state))
    restore_optimizer(optimizer, _below(OPTIMIZER, state))


def _below(prefix: str, state: TrainState) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
