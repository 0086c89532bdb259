"""The `logistic-head` trainer: a linear head by cross-validated logistic regression on a frozen backbone's features."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter

import torch
from torch import Tensor, nn

from zoo_core.engine.data.loaders import memory_budget
from zoo_core.engine.models.build import split_head
from zoo_core.engine.training.cross_validation import FittedHead, fit_head
from zoo_core.engine.training.examples import VALIDATION, EvaluatedExamples
from zoo_core.engine.training.features import Features, FrozenBackbone
from zoo_core.engine.training.metrics import RecipeMetrics
from zoo_core.engine.training.out_of_fold import Fit, out_of_fold_logits
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

    With the recipe's `split.folds`, there are no validation images: what is measured on them otherwise is then measured
    on all images, each predicted by a head that was fitted in the same way without its fold.
    """

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Fit the head of the job's model in place; the backbone does not change, including its buffers.

        Raises:
            UsageError: the head is not one linear layer with an output for each class; or there are too many images
                to fit a head for each fold.
            DataError: the features contain NaN, or no class has two training images.
        """
        settings = LogisticHeadSettings.model_validate(job.plan.settings)
        by_folds = job.plan.recipe.split.folds is not None
        job = replace(job, validation=None) if by_folds else job
        with split_head(job.model, job.plan.model) as (backbone, head):
            layer = _linear_layer(head, job)
            if resume is not None and HEAD + "weight" in resume.tensors:
                layer.load_state_dict({name.removeprefix(HEAD): tensor for name, tensor in resume.tensors.items()})
                return
            started = perf_counter()
            if by_folds:
                _require_small(job, layer, settings)
            is_validated = by_folds or job.validation is not None
            extra = RecipeMetrics.of(job.plan.recipe, {VALIDATION: None} if is_validated else {})
            source = FrozenBackbone(backbone, job, settings.feature_batch_size, settings.hold_bytes)
            train, validation = yield from source.train_and_validation()
            out_of_fold = yield from _out_of_fold(train, job, settings)
            fitted = yield from fitted_head(train, job, settings, resume)
            with torch.no_grad():
                layer.weight.copy_(fitted.weight)
                layer.bias.copy_(fitted.bias)
        # only now, because whoever gets the result finds the model whole
        yield from _measured(job, layer, fitted, train, validation or out_of_fold, extra, started)


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
    rows = train.rows
    if not isinstance(rows, Tensor) or rows.numel() * len(job.plan.classes) > COST:
        return (yield from fit_streamed(train, job, settings, resume))
    fitted = None
    if job.world.is_first:
        fitted = yield from _fit(job, settings)(rows, train.labels, train.groups)
    shared = job.world.broadcast(fitted)
    assert shared is not None
    return shared


def _fit(job: Job, settings: LogisticHeadSettings) -> Fit:
    recipe = job.plan.recipe
    return partial(
        fit_head,
        classes=len(job.plan.classes),
        folds=settings.folds,
        strengths=settings.strengths,
        criterion=settings.criterion,
        balance=recipe.balance,
        standardize=settings.standardize,
        seed=recipe.seed,
    )


def _out_of_fold(
    train: Features, job: Job, settings: LogisticHeadSettings
) -> Generator[Event, None, EvaluatedExamples | None]:
    """Predict each image without its fold, on the first rank for all; None: the recipe asks for no folds."""
    classes, folds, seed = len(job.plan.classes), job.plan.recipe.split.folds, job.plan.recipe.seed
    if folds is None:
        return None
    logits = None
    if job.world.is_first:
        assert isinstance(train.rows, Tensor)
        fit, images = _fit(job, settings), (train.rows, train.labels, train.groups)
        logits = yield from out_of_fold_logits(fit, *images, classes=classes, folds=folds, seed=seed)
    shared = job.world.broadcast(logits)
    assert shared is not None
    return EvaluatedExamples(train, shared.float())


def _require_small(job: Job, layer: nn.Linear, settings: LogisticHeadSettings) -> None:
    """Refuse to fit a head for each fold where a single one takes minutes, or its features do not fit into memory."""
    numbers = len(job.train) * layer.in_features
    budget = memory_budget(job.world) if settings.hold_bytes is None else settings.hold_bytes
    if numbers * layer.out_features > COST or 4 * numbers > budget:
        raise UsageError(
            f"{len(job.train):,} images are too many for split.folds",
            why="a head would be fitted for each fold; so many images can spare some for validation",
            fix=f"zoo run {job.plan.recipe.name} --data FOLDER --val-fraction 0.2",
        )


def _measured(
    job: Job,
    layer: nn.Linear,
    fitted: FittedHead,
    train: Features,
    validated: Features | EvaluatedExamples | None,
    extra: RecipeMetrics,
    started: float,
) -> Iterator[Event]:
    """Measure the head, and yield the run's only EpochResult and Checkpoint."""
    loop = replace(job.loop(layer), precision=replace(job.precision, dtype=torch.float32))
    trained = yield from loop.measure(train, what="train_accuracy")
    metrics = {"loss": trained.loss, for_task("train_accuracy", trained.task): trained.score}
    predictions = None
    if isinstance(validated, Features):
        validated = yield from loop.measure(validated, what=VALIDATION)
    if validated is not None:
        predictions = validated.predictions
        metrics |= {for_task(VALIDATION, validated.task): validated.score, **extra.measure(validated)}
    metrics["cross_validation_loss"] = fitted.cross_validation_loss
    if job.plan.task == "single-label":
        metrics["cross_validation_accuracy"] = fitted.cross_validation_accuracy
    metrics |= {"strength": fitted.strength, "temperature": fitted.temperature}
    yield EpochResult(1, 1, metrics, perf_counter() - started, predictions, {**KINDS, **extra.kinds})
    yield Checkpoint(TrainState(1, 0, {HEAD + name: tensor for name, tensor in layer.state_dict().items()}))
