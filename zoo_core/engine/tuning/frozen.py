"""The features of a plan's frozen backbone: the same as a run's, from the same cache."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from zoo_core.data.splits import OpenedData
from zoo_core.engine.compute.distributed import World
from zoo_core.engine.models.build import split_head
from zoo_core.engine.models.weights import pin_weights
from zoo_core.engine.training.features import Features, FrozenBackbone
from zoo_core.engine.training.run import prepare
from zoo_core.engine.training.trainer import Job
from zoo_core.events import Event, OnEvent
from zoo_core.recipes.plan import Plan
from zoo_core.registry.builtin import LogisticHeadSettings
from zoo_core.store.store import Store


@dataclass(frozen=True)
class FrozenJob:
    """The job of a plan with the trainer `logistic-head`, ready to compute features."""

    job: Job
    settings: LogisticHeadSettings

    @classmethod
    def of(
        cls, plan: Plan, data: OpenedData, store: Store, device: torch.device, world: World, on_event: OnEvent
    ) -> FrozenJob:
        """Download the weights of a plan, and build its model, as a run does.

        Raises:
            ZooError: the weights cannot be downloaded, or do not fit the model.
        """
        pinned = pin_weights(plan.model, plan.weights, store, on_event)
        plan = plan.with_examples(data.plan.edition.examples).model_copy(update={"weights": pinned})
        job, _ = prepare(plan, data.splits, store, device, on_event, world)
        return cls(job, LogisticHeadSettings.model_validate(plan.settings))

    def features(self) -> Generator[Event, None, tuple[Features, Features | None]]:
        """Return the features of the training and, if any, of the validation images, computed or from the cache."""
        job, settings = self.job, self.settings
        with split_head(job.model, job.plan.model) as (backbone, _):
            source = FrozenBackbone(backbone, job, settings.feature_batch_size, settings.hold_bytes)
            return (yield from source.train_and_validation(f"{job.plan.model.name}: "))
