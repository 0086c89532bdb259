"""Compares backbones: each gets the head that `zoo run transfer` fits, on the same split of the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from zoo_core.data.splits import OpenedData, open_splits
from zoo_core.engine.compute.devices import pick_device
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, device_of
from zoo_core.engine.compute.memory import translate_oom
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.models.build import count_parameters
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.engine.training.cross_validation import FittedHead
from zoo_core.engine.training.features import Features
from zoo_core.engine.training.logistic_head import fitted_head
from zoo_core.engine.training.single_run import single_run
from zoo_core.engine.training.trainer import Job
from zoo_core.engine.tuning.frozen import FrozenJob
from zoo_core.errors import PluginError, UsageError, ZooError
from zoo_core.events import OnEvent, drive, ignore_event
from zoo_core.metrics import balanced_accuracy
from zoo_core.recipes.plan import Plan
from zoo_core.registry.plugin_errors import attributed_to_plugins
from zoo_core.runs.backbones import BackboneRanking, BackboneScore, ranked
from zoo_core.store.store import Store

PASSES, SECONDS = 5, 2.0  # timed forward passes: at least one, then up to so many or until so long


def compare_backbones(
    models: Sequence[str],
    planned: Callable[[str], Plan],
    *,
    store: Store,
    on_event: OnEvent = ignore_event,
    world: World = SINGLE_PROCESS,
) -> BackboneRanking:
    """Measure each model's backbone with a linear head. One that fails is a row with the reason.

    Args:
        models: their names.
        planned: returns the plan of a model, with the trainer `logistic-head`.
        store: where weights and features are cached; a later run, or a comparison that was stopped, uses them.
        on_event: called with every event.
        world: the processes that share the work.

    Raises:
        UsageError: another run is in progress in this process, or the data is multi-label.
        DataError: the images cannot be used.
        ZooError: no model could be measured; the first one's error.
    """
    with single_run():
        comparison = _Comparison(planned, store, on_event, world)
        scores = [comparison.score(model) for model in models]
    return comparison.ranking(scores)


@dataclass
class _Comparison:
    """The data, opened for the first plan and used for all."""

    planned: Callable[[str], Plan]
    store: Store
    on_event: OnEvent
    world: World
    plan: Plan | None = None
    data: OpenedData | None = None
    device: torch.device | None = None
    first_error: ZooError | None = None

    def score(self, model: str) -> BackboneScore:
        """Measure one backbone."""
        try:
            plan = self.planned(model)
        except ZooError as error:
            return self._failed(model, error)
        opened = self.data or self._open(plan)
        try:
            with attributed_to_plugins(plan.model.builder), translate_oom(plan.recipe):
                frozen = FrozenJob.of(plan, opened, self.store, self._device(plan), self.world, self.on_event)
                return _measured(frozen, self.on_event)
        except ZooError as error:
            return self._failed(model, error)
        except RuntimeError as error:  # a network that torch cannot run must not end the comparison
            why = str(error).partition("\n")[0]
            return self._failed(model, PluginError(f"{model} raised RuntimeError", why=why))

    def ranking(self, scores: list[BackboneScore]) -> BackboneRanking:
        """Return all scores, the best first."""
        plan, data = self.plan, self.data
        if self.first_error is not None and all(score.error for score in scores):
            raise self.first_error
        assert plan is not None
        assert data is not None
        device = self._device(plan)
        return BackboneRanking(
            str(plan.data) if plan.data is not None else f"{plan.dataset.name}.{plan.edition.name}",
            len(plan.classes),
            len(data.splits["train"]),
            device_name(device),
            Precision.pick(plan.recipe.precision, device).name,
            ranked(scores),
            plan.recipe.name,
            plan.data,
        )

    def _open(self, plan: Plan) -> OpenedData:
        if plan.task != "single-label":
            raise UsageError(f"{plan.dataset.name} is {plan.task}", why="backbones are compared on one label per image")
        self.plan, self.data = plan, drive(open_splits(plan, self.store, self.on_event, self.world), self.on_event)
        return self.data

    def _device(self, plan: Plan) -> torch.device:
        self.device = self.device or pick_device(device_of(plan.device))
        return self.device

    def _failed(self, model: str, error: ZooError) -> BackboneScore:
        self.first_error = self.first_error or error
        return BackboneScore(model, error=f"{error.what}: {error.why}" if error.why else error.what)


def device_name(device: torch.device) -> str:
    """Return the device as people know it: "cpu, 2 threads" or the name of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'' if threads == 1 else 's'}"


def _measured(frozen: FrozenJob, on_event: OnEvent) -> BackboneScore:
    job = frozen.job
    train, validation = drive(frozen.features(), on_event)
    fitted = drive(fitted_head(train, job, frozen.settings, None), on_event)
    held_out = _held_out(fitted, train.labels)
    chosen = held_out if validation is None else _predicted(fitted, validation)
    labels = train.labels if validation is None else validation.labels
    outcomes = [] if validation is None or chosen is None else chosen.eq(labels).tolist()
    if held_out is not None:
        outcomes += held_out.eq(train.labels)[held_out >= 0].tolist()
    state = job.model.state_dict().values()
    return BackboneScore(
        job.plan.model.name,
        weights=job.plan.selection.name,
        outcomes=tuple(outcomes),
        images=0 if validation is None else len(validation.labels),
        balanced_accuracy=0.0 if chosen is None else _balanced(chosen, labels, len(job.plan.classes)),
        cross_validation_accuracy=fitted.cross_validation_accuracy,
        milliseconds=1000 * seconds_per_image(job, frozen.settings.feature_batch_size),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in state),
        parameters=count_parameters(job.model),
    )


def _held_out(fitted: FittedHead, labels: Tensor) -> Tensor | None:
    """Return the class of each training image (N,) by the fold that held it out, -1 if none did; None: not known."""
    logits = fitted.held_out
    if len(logits) != len(labels):  # a head that was fitted on streamed features
        return None
    return torch.where(logits.isnan().any(dim=1), -1, logits.argmax(dim=1))


def _predicted(fitted: FittedHead, features: Features) -> Tensor:
    """Return the class of each image (N,): computed in float32, as by the head of a run."""
    head = nn.Linear(fitted.weight.shape[1], fitted.weight.shape[0])
    with torch.inference_mode():
        head.weight.copy_(fitted.weight)
        head.bias.copy_(fitted.bias)
        batches = torch.split(torch.arange(len(features.labels)), features.inference_batch_size)
        return torch.cat([head(rows).argmax(dim=1) for rows in features.stream(batches, 0)])


def _balanced(chosen: Tensor, labels: Tensor, classes: int) -> float:
    correct, labeled = (kept.bincount(minlength=classes).tolist() for kept in (labels[chosen == labels], labels))
    return balanced_accuracy(correct, labeled)


def seconds_per_image(job: Job, batch_size: int) -> float:
    """Return the median time of warm forward passes of the whole model, as it is used for predictions, per image."""
    spec, device = job.plan.input, job.device
    network = optimize_for_inference(job.model.to(device), spec, job.precision)
    batch = torch.zeros(batch_size, spec.channels, spec.size, spec.size, device=device)
    times, began = list[float](), perf_counter()
    with torch.inference_mode():
        network(batch)  # warms up
        while len(times) < PASSES and (not times or perf_counter() - began < SECONDS):
            times.append(_timed(network, batch))
    return median(times) / batch_size


def _timed(network: nn.Module, batch: Tensor) -> float:
    if batch.device.type == "cuda":
        torch.cuda.synchronize(batch.device)
    began = perf_counter()
    network(batch)
    if batch.device.type == "cuda":
        torch.cuda.synchronize(batch.device)
    return perf_counter() - began
