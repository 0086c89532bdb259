"""The `frozen-features` trainer: computes the features of a frozen backbone once, and trains the head on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from zoo_core.engine.models.build import split_head
from zoo_core.engine.training.examples import Examples
from zoo_core.engine.training.features import FrozenBackbone
from zoo_core.engine.training.metrics import measured_names
from zoo_core.engine.training.monitor import Monitor
from zoo_core.engine.training.trainer import Job
from zoo_core.events import Event, TrainState
from zoo_core.registry.builtin import FrozenFeaturesSettings


class FrozenFeaturesTrainer:
    """Trains a head on features that are computed once and cached in the Store for later runs."""

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the head of the job's model in place; the backbone does not change, including its buffers."""
        settings = FrozenFeaturesSettings.model_validate(job.plan.settings)
        names = ["train_accuracy", *(["validation_accuracy"] if job.validation is not None else [])]
        Monitor.of(job.plan).require(measured_names(job.plan, names))
        with split_head(job.model, job.plan.model) as (backbone, head):
            source = FrozenBackbone(backbone, job, settings.feature_batch_size, settings.hold_bytes)
            train, validation = yield from source.train_and_validation()
        measures: dict[str, Examples] = {"train_accuracy": train}
        if validation is not None:
            measures["validation_accuracy"] = validation
        precision = replace(job.precision, dtype=torch.float32)  # a head is too small to gain from bfloat16
        yield from replace(job.loop(head), precision=precision).train(train, measures, resume)
