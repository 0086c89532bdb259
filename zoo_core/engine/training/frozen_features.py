"""The `frozen-features` trainer: computes the features of a frozen backbone once, and trains the head on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from zoo_core.engine.data.batches import labels_of, names_of
from zoo_core.engine.evaluation.evaluate import forward_all
from zoo_core.engine.models.build import split_head
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.engine.models.weights import load_tensors, save_tensors
from zoo_core.engine.training.examples import Examples
from zoo_core.engine.training.feature_key import feature_key
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import ResourceError
from zoo_core.events import Event, Progress, TrainState
from zoo_core.images.image_sets import ImageSet
from zoo_core.registry.builtin import FrozenFeaturesSettings

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """The backbone's output for a set of images: `rows` (N, D) float32."""

    rows: Tensor
    labels: Tensor
    names: tuple[str, ...]

    @property
    def inference_batch_size(self) -> int:
        """How many rows to send through a head at once."""
        return 1024

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, D) float32, the same in every epoch."""
        return (self.rows[indices] for indices in batches)


class FrozenFeaturesTrainer:
    """Trains a head on features that are computed once and cached in the Store for later runs."""

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the head of the job's model in place; the backbone does not change, including its buffers."""
        with split_head(job.model, job.plan.model) as (backbone, head):
            # optimized for inference at most once, and only if the features are not cached
            network = cache(lambda: optimize_for_inference(backbone.to(job.device), job.plan.input, job.precision))
            train = yield from self._features(backbone, network, job.train, job, "training")
            measures: dict[str, Examples] = {"train_accuracy": train}
            if job.validation is not None:
                validation = yield from self._features(backbone, network, job.validation, job, "validation")
                measures["validation_accuracy"] = validation
        precision = replace(job.precision, dtype=torch.float32)  # a head is too small to gain from bfloat16
        yield from replace(job.loop(head), precision=precision).train(train, measures, resume)

    def _features(
        self, backbone: nn.Module, network: Callable[[], nn.Module], images: ImageSet, job: Job, what: str
    ) -> Generator[Event, None, Features]:
        key = feature_key(backbone, images, job)
        cached = job.store.get_cached(key)
        if job.world.all_reduce_mean(float(cached is not None)) == 1.0:  # on every machine, or all compute
            assert cached is not None
            yield Progress(f"{what} features (cached)", len(images), len(images), "images")
            return Features(load_tensors(cached, "cached features")["features"], labels_of(images), names_of(images))
        rows = yield from forward_all(
            network(),
            images,
            job.plan.input,
            job.device,
            world=job.world,
            what=f"{what} features",
            batch_size=FrozenFeaturesSettings.model_validate(job.plan.settings).feature_batch_size,
        )
        if job.world.is_first:
            try:
                job.store.put_cached(key, save_tensors({"features": rows}))
            except ResourceError as error:  # a full or read-only cache does not stop a run
                LOG.warning("the %s features were not cached: %s", what, error.why.partition("\n")[0])
        return Features(rows, labels_of(images), names_of(images))
