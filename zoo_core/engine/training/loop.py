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
from zoo_core.engine.compute.losses import Loss, class_weights, make_loss, unweighted
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.data.mixing import Mixing
from zoo_core.engine.training.batch_norm import explained_batch_norm, freeze_statistics
from zoo_core.engine.training.batch_shards import BatchShard, split_batches
from zoo_core.engine.training.epoch_progress import TOTALS, EpochProgress
from zoo_core.engine.training.examples import VALIDATION, EvaluatedExamples, Examples, order_of
from zoo_core.engine.training.fast_path.switch import fast_path
from zoo_core.engine.training.metrics import RecipeMetrics
from zoo_core.engine.training.optimizers import (
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    scheduled_rate,
    set_rate,
)
from zoo_core.engine.training.parameter_groups import parameter_groups
from zoo_core.engine.training.weight_average import WeightAverage
from zoo_core.errors import Diverged, IntegrityError
from zoo_core.events import Checkpoint, EpochResult, Event, Progress, TrainState, never_due
from zoo_core.metrics import for_task
from zoo_core.recipes.recipe import Recipe

AGREE_EVERY = 16  # steps after which ranks agree again on whether a checkpoint is due
MODEL, OPTIMIZER, AVERAGE = "model.", "optimizer.", "average."  # prefixes of a TrainState's tensor names
MERGED = "single_merged"  # a key of a TrainState's values


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
    mixing: Mixing
    average: WeightAverage


@dataclass(frozen=True)
class TrainingLoop:
    """Trains `model` in place with the recipe's optimizer, schedule, batches, epochs and seed; see `Job.loop`.

    Each rank takes its shard of every batch. The gradient is the mean over the whole batch, so the result does not
    depend on the world size, up to rounding and to what random layers such as dropout draw. A last batch of a single
    example is merged into the batch before it, because BatchNorm needs at least two.

    With `accumulate`, a rank's shard goes through the model in parts, whose gradients add up to the same mean; in
    training mode, BatchNorm sees the statistics of a part. mixup and CutMix combine images of the same shard. With
    `ema`, the model holds the averaged weights at every EpochResult and at the end, and its own in between.
    """

    model: nn.Module
    recipe: Recipe
    device: torch.device
    precision: Precision
    world: World = SINGLE_PROCESS
    due: Callable[[], bool] = never_due  # whether the caller wants a Checkpoint inside an epoch
    span: range | None = None  # the epochs to train, from 0, over which the schedule stretches; None: all
    freeze_batch_norm: bool = False  # BatchNorm normalizes by its running statistics, which do not change

    @property
    def epochs(self) -> range:
        """The epochs to train, from 0."""
        return range(self.recipe.epochs) if self.span is None else self.span

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
                of "validation_accuracy" are part of the EpochResult. Multi-label examples are measured by their mean
                average precision, and "accuracy" in the name becomes "map".
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
        groups = parameter_groups(self.model, self.recipe)
        optimizer = make_optimizer(self.recipe.optimizer, groups, fused=self.precision.fast_path)
        average = WeightAverage(self.model, self.recipe.ema)
        progress = EpochProgress() if resume is None else self._restored(optimizer, average, resume)
        state = _LoopState(
            self.world.wrap_ddp(self.model),
            optimizer,
            examples,
            measures or {},
            extra,
            self._loss(loss, examples.labels),
            (examples.labels,) if targets is None else targets,
            merge_single=resume is None or MERGED in resume.values,
            mixing=Mixing.of(self.recipe.augment),
            average=average,
        )
        with fast_path(self.model, self.precision):
            for epoch in range(resume.epoch if resume else self.epochs.start, self.epochs.stop):
                yield from self._train_and_measure(state, epoch, progress)
                progress = EpochProgress()
        state.average.load()

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
        state.average.unload()
        progress = yield from self._rest_of_epoch(state, epoch, progress)
        state.average.load()
        self.world.broadcast_buffers(self.model.buffers())  # running statistics differ between ranks
        metrics = {"loss": self.world.all_reduce_mean(progress.total / progress.step)}
        predictions, details = None, dict[str, float]()
        for name, measured_on in state.measures.items():
            steps = self.measure(measured_on, epoch, what=f"epoch {epoch + 1}: {name}")
            measured = yield from self._interruptible(steps, state, epoch, progress)
            self._finite(measured.loss, epoch, progress.step - 1)
            metrics[for_task(name, measured.task)] = measured.score
            if name == VALIDATION:
                predictions = measured.predictions
                details = state.extra.measure(measured)
        yield EpochResult(
            epoch + 1, self.recipe.epochs, metrics | details, perf_counter() - started, predictions, state.extra.kinds
        )
        yield self._checkpoint(state, epoch + 1, EpochProgress())

    def _rest_of_epoch(
        self, state: _LoopState, epoch: int, progress: EpochProgress
    ) -> Generator[Event, None, EpochProgress]:
        """Take the remaining steps of an epoch."""
        self.model.train()
        if self.freeze_batch_norm:
            freeze_statistics(self.model)
        order = order_of(state.examples, self.recipe.seed, epoch)
        batches = split_batches(order, self.recipe.batch_size, merge_single=state.merge_single)
        shards = [BatchShard.of(batch, self.world) for batch in batches[progress.step :]]
        inputs = state.examples.stream([shard.indices for shard in shards], epoch)
        for shard, batch in zip(shards, inputs, strict=True):
            before = epoch - self.epochs.start
            done = (before + progress.step / len(batches)) / len(self.epochs)
            set_rate(state.optimizer, scheduled_rate(self.recipe, done, 1 / len(batches) / len(self.epochs)))
            value = self._step(state, shard, batch, epoch, progress.step)
            state.average.update(before * len(batches) + progress.step)
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
        mixed, value, parts = state.mixing(inputs), 0.0, shard.parts(self.recipe.accumulate)
        partners = mixed.partners(shard.indices)
        state.optimizer.zero_grad()
        for part in parts:
            with self.world.adding_up(state.module, more=part is not parts[-1]):
                with explained_batch_norm(self.recipe), self.precision.autocast(self.device):
                    logits = state.module(self.precision.to_device(mixed.inputs[part], self.device))
                loss = self._loss_of(state, logits, shard.indices[part])
                if mixed.share < 1:
                    loss = mixed.share * loss + (1 - mixed.share) * self._loss_of(state, logits, partners[part])
                loss = loss * (shard.weight * (len(logits) / len(shard.indices)))
                value += self._finite(loss.item(), epoch, step)
                loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        state.optimizer.step()
        return value

    def _loss_of(self, state: _LoopState, logits: Tensor, indices: Tensor) -> Tensor:
        return state.loss(logits, *(target[indices].to(self.device) for target in state.targets))

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
        own = {**self.model.state_dict(), **state.average.own}
        tensors = {MODEL + name: tensor for name, tensor in own.items()}
        tensors |= {AVERAGE + name: tensor for name, tensor in state.average.average.items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in optimizer_tensors(state.optimizer).items()}
        values = {TOTALS: self.world.all_gather(progress.total), **({MERGED: True} if state.merge_single else {})}
        return Checkpoint(TrainState(epoch, progress.step, tensors, values))

    def _restored(self, optimizer: torch.optim.Optimizer, average: WeightAverage, state: TrainState) -> EpochProgress:
        """Load a state into the model, the optimizer and the average, and return the finished part of its epoch."""
        try:
            self.model.load_state_dict(_with_prefix(MODEL, state))
            average.restore(_with_prefix(AVERAGE, state))
            restore_optimizer(optimizer, _with_prefix(OPTIMIZER, state))
            return EpochProgress.of(state, self.world)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise IntegrityError("a checkpoint does not fit this run", why=why, fix="zoo run RECIPE") from error

    def _loss(self, own: Loss | None, labels: Tensor) -> Loss:
        """Return the loss to train with: the trainer's own, or the recipe's with the recipe's class weights."""
        balance = self.recipe.balance
        if own is not None:
            if balance:
                raise unweighted("the trainer's own loss")
            return own
        return make_loss(self.recipe.loss, class_weights(labels, 2, balance).to(self.device) if balance else None)

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
