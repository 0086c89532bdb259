"""The features of a frozen backbone: computed once, cached in the Store for later runs."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from zoo_core.engine.data.batches import labels_of, names_of
from zoo_core.engine.evaluation.evaluate import forward_all
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.engine.models.weights import load_tensors, save_tensors
from zoo_core.engine.training.feature_key import feature_key
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import ResourceError
from zoo_core.events import Event, Progress
from zoo_core.images.image_sets import ImageSet

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


@dataclass(frozen=True)
class FrozenBackbone:
    """A job's backbone, which maps images to features (N, D) and does not change, including its buffers."""

    backbone: nn.Module
    job: Job
    batch_size: int  # images per forward pass

    @cached_property
    def _network(self) -> nn.Module:
        """The backbone, optimized for inference at most once, and only if some features are not cached."""
        job = self.job
        return optimize_for_inference(self.backbone.to(job.device), job.plan.input, job.precision)

    def features(self, images: ImageSet, what: str) -> Generator[Event, None, Features]:
        """Return the features of every image, computed or from the cache; ranks share the work.

        Raises:
            DataError: an image is damaged.
        """
        job, key = self.job, feature_key(self.backbone, images, self.job)
        cached = job.store.get_cached(key)
        if job.world.all_reduce_mean(float(cached is not None)) == 1.0:  # on every machine, or all compute
            assert cached is not None
            yield Progress(f"{what} features (cached)", len(images), len(images), "images")
            return Features(load_tensors(cached, "cached features")["features"], labels_of(images), names_of(images))
        rows = yield from forward_all(
            self._network,
            images,
            job.plan.input,
            job.device,
            world=job.world,
            what=f"{what} features",
            batch_size=self.batch_size,
        )
        if job.world.is_first:
            try:
                job.store.put_cached(key, save_tensors({"features": rows}))
            except ResourceError as error:  # a full or read-only cache does not stop a run
                LOG.warning("the %s features were not cached: %s", what, error.why.partition("\n")[0])
        return Features(rows, labels_of(images), names_of(images))
