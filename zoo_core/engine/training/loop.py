"""The training loop that the built-in trainers use, and that plugins can use with their own loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from zoo_core.engine.compute.batched import infer_batches
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.losses import Loss, make_loss
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.training.batch_norm import explained_batch_norm
from zoo_core.engine.training.batch_shards import BatchShard, split_batches
from zoo_core.engine.training.examples import EvaluatedExamples, Examples, order_of
from zoo_core.engine.training.fast_path.switch import fast_path
from zoo_core.engine.training.metrics import VALIDATION, RecipeMetrics
from zoo_core.engine.training.optimizers import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    scheduled_rate,
    set_rate,
)
from zoo_core.errors import Diverged, IntegrityError
from zoo_core.events import Checkpoint, EpochResult, Event, Progress, TrainState, never_due
from zoo_core.recipes.recipe import Recipe

AGREE_EVERY = 16  # steps after which ranks agree again on whether a checkpoint is due
MODEL, OPTIMIZER = "model.", "optimizer."  # prefixes of a TrainState's tensor names
TOTALS, MERGED = "totals", "single_merged"  # keys of a TrainState's values


@dataclass(frozen=True)
class EpochProgress:
    """The finished part of an epoch: steps, and this rank's sum of the batch losses."""

    step: int = 0
    total: float = 0.0

    @classmethod
    def of(cls, state: TrainState, world: World) -> EpochProgress:
        """Return the progress a state records; a different number of ranks shares the sum equally."""
        totals: list[float] = state.values[TOTALS]
        return cls(state.step, totals[world.rank] if len(totals) == world.count else sum(totals) / len(totals))


@dataclass(frozen=True)
class _LoopState:
    """What stays the same from step to step."""

    module: nn.Module  # the model, or its DistributedDataParallel wrapper
    optimizer: torch.optim.Optimizer
    examples: Examples
    measures: Mapping[str, Examples]
    extra: RecipeMetrics
    loss: Loss
    targets: tuple[Tensor, ...]
    merge_single: bool


@dataclass(frozen=True)
class TrainingLoop:
    """Trains `model` in place with the recipe's optimizer, schedule, batches, epochs and seed; see `Job.loop`.

    Each rank takes its shard of every batch. The gradient is the mean over the whole batch, so the result does not
    depend on the world size, up to rounding and to what random layers such as dropout draw. A last batch of a single
    example is merged into the batch before it, because BatchNorm needs at least two.
    """

    model: nn.Module
    recipe: Recipe
    device: torch.device
    precision: Precision
    world: World = SINGLE_PROCESS
    due: Callable[[], bool] = never_due  # whether the caller wants a Checkpoint inside an epoch

    def train(
        self,
        examples: Examples,
        measures: Mapping[str, Examples] | None = None,
        resume: TrainState | None = None,
        *,
        loss: Loss | None = None,
        targets: tuple[Tensor, ...] | None = None,
    ) -> Iterator[Event]:
        """Train, and after each epoch compute the accuracy on each of `measures`.

        Args:
            examples: what to train on.
            measures: metric names, such as "validation_accuracy", and the examples to compute each on. The predictions
                of "validation_accuracy" are part of the EpochResult.
            resume: the state of a Checkpoint of this loop; on the same machine the result is the same bit for bit.
            loss: `loss(logits, *targets)`, the mean over the batch; None: the recipe's. Logits are (n, K), and K may
                be 1 for two classes: see `class_logits`.
            targets: tensors with one row per example, (N, ...), in the order of `examples`; the loss gets the rows of
                its batch, on the device. None: the labels. Pass `torch.arange(N)` to get the indices.

        Raises:
            Diverged: the loss of a batch is NaN or infinite.
            IntegrityError: the state belongs to another model or optimizer.
            UsageError: the recipe names metrics, but "validation_accuracy" is not measured.
            UsageError: BatchNorm was given a batch, or a rank's shard of one, with a single value per channel.
        """
        extra = RecipeMetrics.of(self.recipe, measures or {})
        self.precision.to_memory_format(self.model.to(self.device))
        optimizer = make_optimizer(self.recipe.optimizer, self.model.parameters(), fused=self.precision.fast_path)
        progress = EpochProgress() if resume is None else self._restored(optimizer, resume)
        state = _LoopState(
            self.world.wrap_ddp(self.model),
            optimizer,
            examples,
            measures or {},
            extra,
            loss or make_loss(self.recipe.loss),
            (examples.labels,) if targets is None else targets,
            merge_single=resume is None or MERGED in resume.values,
        )
        with fast_path(self.model, self.precision):
            for epoch in range(resume.epoch if resume else 0, self.recipe.epochs):
                yield from self._train_and_measure(state, epoch, progress)
                progress = EpochProgress()

    def measure(self, examples: Examples, epoch: int = 0, *, what: str) -> Generator[Event, None, EvaluatedExamples]:
        """Send examples through the model in evaluation mode, each rank its shard, and return all logits.

        Args:
            examples: what to measure on.
            epoch: which random draws to use, where the examples are augmented.
            what: the name of this work in Progress events.
        """
        self.model.to(self.device).eval()

        def batches_of(indices: Tensor) -> Iterator[Tensor]:
            return examples.stream(torch.split(indices, examples.inference_batch_size), epoch)

        total, precision = len(examples.labels), self.precision
        logits = yield from infer_batches(
            self.model, batches_of, total, self.device, precision=precision, world=self.world, what=what
        )
        return EvaluatedExamples(examples, logits)

    def _train_and_measure(self, state: _LoopState, epoch: int, progress: EpochProgress) -> Iterator[Event]:
        """Train for the rest of an epoch, and measure."""
        started = perf_counter()
        progress = yield from self._rest_of_epoch(state, epoch, progress)
        self.world.broadcast_buffers(self.model.buffers())  # running statistics differ between ranks
        metrics = {"loss": self.world.all_reduce_mean(progress.total / progress.step)}
        predictions = None
        for name, measured_on in state.measures.items():
            steps = self.measure(measured_on, epoch, what=f"epoch {epoch + 1}: {name}")
            measured = yield from self._interruptible(steps, state, epoch, progress)
            self._finite(measured.loss, epoch, progress.step - 1)
            metrics[name] = measured.accuracy
            if name == VALIDATION:
                predictions = measured.predictions
                metrics |= state.extra.measure(measured)
        yield EpochResult(
            epoch + 1, self.recipe.epochs, metrics, perf_counter() - started, predictions, state.extra.kinds
        )
        yield self._checkpoint(state, epoch + 1, EpochProgress())

    def _rest_of_epoch(
        self, state: _LoopState, epoch: int, progress: EpochProgress
    ) -> Generator[Event, None, EpochProgress]:
        """Take the remaining steps of an epoch."""
        self.model.train()
        order = order_of(state.examples, self.recipe.seed, epoch)
        batches = split_batches(order, self.recipe.batch_size, merge_single=state.merge_single)
        shards = [BatchShard.of(batch, self.world) for batch in batches[progress.step :]]
        inputs = state.examples.stream([shard.indices for shard in shards], epoch)
        for shard, batch in zip(shards, inputs, strict=True):
            done = (epoch + progress.step / len(batches)) / self.recipe.epochs
            set_rate(state.optimizer, scheduled_rate(self.recipe, done))
            value = self._step(state, shard, batch, epoch, progress.step)
            progress = EpochProgress(progress.step + 1, progress.total + value)
            yield Progress(f"epoch {epoch + 1}", progress.step, len(batches), "steps")
            if self._wants_checkpoint(progress.step):
                yield self._checkpoint(state, epoch, progress)
        return progress

    def _step(self, state: _LoopState, shard: BatchShard, inputs: Tensor, epoch: int, step: int) -> float:
        """Take one step, and return this rank's part of its loss."""
        # what dropout draws depends on the position alone, so a resumed run draws the same; ranks draw differently
        rank = (self.world.rank,) if self.world.rank else ()
        seed_torch(self.recipe.seed, "step", epoch, step, *rank)
        with explained_batch_norm(self.recipe), self.precision.autocast(self.device):
            logits = state.module(self.precision.to_device(inputs, self.device))
        targets = [target[shard.indices].to(self.device) for target in state.targets]
        loss = state.loss(logits, *targets) * shard.weight
        value = self._finite(loss.item(), epoch, step)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        return value

    def _interruptible(
        self, steps: Generator[Event, None, EvaluatedExamples], state: _LoopState, epoch: int, progress: EpochProgress
    ) -> Generator[Event, None, EvaluatedExamples]:
        """Measure, and offer checkpoints meanwhile; several ranks, whose shards differ in length, do not."""
        while True:
            try:
                yield next(steps)
            except StopIteration as stop:
                measured: EvaluatedExamples = stop.value
                return measured
            if self.world.count == 1 and self.due():
                yield self._checkpoint(state, epoch, progress)

    def _wants_checkpoint(self, step: int) -> bool:
        """Return whether a checkpoint is due; ranks agree on it every few steps."""
        if self.world.count == 1:
            return self.due()
        return step % AGREE_EVERY == 0 and self.world.all_reduce_mean(float(self.due())) > 0

    def _checkpoint(self, state: _LoopState, epoch: int, progress: EpochProgress) -> Checkpoint:
        tensors = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in optimizer_tensors(state.optimizer).items()}
        values = {TOTALS: self.world.all_gather(progress.total), **({MERGED: True} if state.merge_single else {})}
        return Checkpoint(TrainState(epoch, progress.step, tensors, values))

    def _restored(self, optimizer: torch.optim.Optimizer, state: TrainState) -> EpochProgress:
        """Load a state into the model and the optimizer, and return the finished part of its epoch."""
        try:
            self.model.load_state_dict(_with_prefix(MODEL, state))
            restore_optimizer(optimizer, _with_prefix(OPTIMIZER, state))
            return EpochProgress.of(state, self.world)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise IntegrityError("a checkpoint does not fit this run", why=why, fix="zoo run RECIPE") from error

    def _finite(self, loss: float, epoch: int, step: int) -> float:
        if math.isfinite(loss):
            return loss
        optimizer = self.recipe.optimizer
        raise Diverged(
            f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}",
            why=f"training diverged with {optimizer.name} at a learning rate of {optimizer.lr:g}",
            fix=f"zoo run {self.recipe.name} --lr {optimizer.lr / 10:g}",
        )


def _with_prefix(prefix: str, state: TrainState) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
