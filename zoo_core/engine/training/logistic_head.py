"""The `logistic-head` trainer: a linear head by cross-validated logistic regression on a frozen backbone's features."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor, nn

from zoo_core.engine.models.build import split_head
from zoo_core.engine.training.cross_validation import FittedHead, fit_head
from zoo_core.engine.training.examples import VALIDATION, Examples
from zoo_core.engine.training.features import Features, FrozenBackbone
from zoo_core.engine.training.metrics import RecipeMetrics
from zoo_core.engine.training.streamed_head import COST, fit_streamed
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import UsageError
from zoo_core.events import Checkpoint, EpochResult, Event, TrainState
from zoo_core.metrics import MetricKind, for_task
from zoo_core.registry.builtin import LogisticHeadSettings

HEAD = "head."  # prefix of a TrainState's tensor names
KINDS: dict[str, MetricKind] = {
    "cross_validation_loss": "loss",
    "cross_validation_accuracy": "fraction",
    "strength": "number",
    "temperature": "number",
}


class LogisticHeadTrainer:
    """Fits a linear head on features that are computed once and cached in the Store.

    The features are centered and scaled on the training images. The strength of the L2 penalty is chosen by stratified
    cross-validation inside them, and one temperature is fitted on the held-out logits. Both are folded into the head,
    which stays a plain linear layer. The run has one epoch.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Fit the head of the job's model in place; the backbone does not change, including its buffers.

        Raises:
            UsageError: the head is not one linear layer with an output for each class.
            DataError: the features contain NaN, or no class has two training images.
        """
        settings = LogisticHeadSettings.model_validate(job.plan.settings)
        with split_head(job.model, job.plan.model) as (backbone, head):
            layer = _linear_layer(head, job)
            if resume is not None and HEAD + "weight" in resume.tensors:
                layer.load_state_dict({name.removeprefix(HEAD): tensor for name, tensor in resume.tensors.items()})
                return
            started = perf_counter()
            extra = RecipeMetrics.of(job.plan.recipe, {} if job.validation is None else {VALIDATION: None})
            source = FrozenBackbone(backbone, job, settings.feature_batch_size, settings.hold_bytes)
            train, validation = yield from source.train_and_validation()
            measures: dict[str, Examples] = {"train_accuracy": train}
            if validation is not None:
                measures[VALIDATION] = validation
            fitted = yield from fitted_head(train, job, settings, resume)
            with torch.no_grad():
                layer.weight.copy_(fitted.weight)
                layer.bias.copy_(fitted.bias)
        # only now, because whoever gets the result finds the model whole
        yield from _measured(job, layer, fitted, measures, extra, started)


def _linear_layer(head: nn.Module, job: Job) -> nn.Linear:
    classes = len(job.plan.classes)
    if isinstance(head, nn.Linear) and head.out_features == classes and head.bias is not None:
        return head
    name = job.plan.recipe.name
    raise UsageError(
        f"the trainer {job.plan.trainer.name} needs a head of one linear layer with {classes} outputs",
        why=f"the head of {job.plan.model.name} is another: head_units = 0 replaces it",
        fix=f"zoo run {name} --set head_units=0",
    )


def fitted_head(
    train: Features, job: Job, settings: LogisticHeadSettings, resume: TrainState | None
) -> Generator[Event, None, FittedHead]:
    """Fit by L-BFGS on the first rank, and give the result to the others; large features by minibatches on all."""
    rows, classes, recipe = train.rows, len(job.plan.classes), job.plan.recipe
    if not isinstance(rows, Tensor) or rows.numel() * classes > COST:
        return (yield from fit_streamed(train, job, settings, resume))
    fitted = None
    if job.world.is_first:
        fitted = yield from fit_head(
            rows,
            train.labels,
            classes=classes,
            folds=settings.folds,
            strengths=settings.strengths,
            criterion=settings.criterion,
            balance=recipe.balance,
            standardize=settings.standardize,
            seed=recipe.seed,
            groups=train.groups,
        )
    shared = job.world.broadcast(fitted)
    assert shared is not None
    return shared


def _measured(
    job: Job,
    layer: nn.Linear,
    fitted: FittedHead,
    measures: dict[str, Examples],
    extra: RecipeMetrics,
    started: float,
) -> Iterator[Event]:
    """Measure the head, and yield the run's only EpochResult and Checkpoint."""
    loop = replace(job.loop(layer), precision=replace(job.precision, dtype=torch.float32))
    metrics: dict[str, float] = {}
    predictions, details = None, dict[str, float]()
    for name, examples in measures.items():
        evaluated = yield from loop.measure(examples, what=name)
        metrics |= {"loss": evaluated.loss} if not metrics else {}
        metrics[for_task(name, evaluated.task)] = evaluated.score
        if name == VALIDATION:
            predictions = evaluated.predictions
            details = extra.measure(evaluated)
    metrics |= {**details, "cross_validation_loss": fitted.cross_validation_loss}
    if job.plan.task == "single-label":
        metrics["cross_validation_accuracy"] = fitted.cross_validation_accuracy
    metrics |= {"strength": fitted.strength, "temperature": fitted.temperature}
    yield EpochResult(1, 1, metrics, perf_counter() - started, predictions, {**KINDS, **extra.kinds})
    yield Checkpoint(TrainState(1, 0, {HEAD + name: tensor for name, tensor in layer.state_dict().items()}))
