"""The features of a frozen backbone: computed once, cached in the Store for later runs, shard by shard."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from torch import Tensor, nn

from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.engine.data.batches import groups_of, labels_of
from zoo_core.engine.data.loaders import memory_budget
from zoo_core.engine.evaluation.evaluate import forward_all
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.engine.models.weights import save_tensors
from zoo_core.engine.training.feature_key import feature_key
from zoo_core.engine.training.feature_shards import NAME, SHARD_ROWS, FeatureShards
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import ResourceError
from zoo_core.events import Event, Progress, with_progress
from zoo_core.images.image_sets import ImageSet, names_of

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """The backbone's output for a set of images: `rows` (N, D) float32, in memory or in memory-mapped shards."""

    rows: Tensor | FeatureShards
    labels: Tensor
    names: tuple[str, ...]
    groups: Tensor | None = None  # the number of each image's group (N,) int64; None: each is on its own

    @property
    def inference_batch_size(self) -> int:
        """How many rows to send through a head at once."""
        return 1024

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, D) float32, the same in every epoch."""
        if isinstance(self.rows, FeatureShards):
            return self.rows.stream(batches)
        rows = self.rows
        return (rows[indices] for indices in batches)

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the indices (N,) in the order to train on in an epoch."""
        if isinstance(self.rows, FeatureShards):
            return self.rows.order(seed, epoch)
        return epoch_order(seed, epoch, len(self.labels))


@dataclass(frozen=True)
class FrozenBackbone:
    """A job's backbone, which maps images to features (N, D) and does not change, including its buffers."""

    backbone: nn.Module
    job: Job
    batch_size: int  # images per forward pass
    max_bytes: int | None = None  # features of up to this size are kept in memory; None: an eighth of the machine's

    @cached_property
    def _network(self) -> nn.Module:
        """The backbone, optimized for inference at most once, and only if some features are not cached."""
        job = self.job
        return optimize_for_inference(self.backbone.to(job.device), job.plan.input, job.precision)

    def train_and_validation(self, prefix: str = "") -> Generator[Event, None, tuple[Features, Features | None]]:
        """Return the features of the job's training and, if any, of its validation images; see `features`.

        `prefix` is put before the name of the work in Progress events.
        """
        train = yield from self.features(self.job.train, f"{prefix}training")
        if self.job.validation is None:
            return train, None
        return train, (yield from self.features(self.job.validation, f"{prefix}validation"))

    def features(self, images: ImageSet, what: str) -> Generator[Event, None, Features]:
        """Return the features of every image, computed or from the cache; ranks share the work.

        They are cached in shards of SHARD_ROWS rows, so a computation that was killed resumes with the next shard.

        Raises:
            DataError: an image is damaged.
        """
        key, parts = feature_key(self.backbone, images, self.job), list[Path | Tensor]()
        for start in range(0, len(images), SHARD_ROWS):
            part = range(start, min(start + SHARD_ROWS, len(images)))
            shard_key = key if start == 0 else sha256(f"{key} {start}".encode()).hexdigest()
            path = self._cached(shard_key)
            if path is not None:
                yield Progress(f"{what} features (cached)", part.stop, len(images), "images")
            parts.append(path or (yield from self._computed(images, part, shard_key, what)))
        shards = FeatureShards.of(parts)
        budget = memory_budget(self.job.world) if self.max_bytes is None else self.max_bytes
        rows = shards.load() if shards.nbytes <= budget else shards
        return Features(rows, labels_of(images), names_of(images), groups_of(images))

    def _cached(self, key: str) -> Path | None:
        """Return a shard's file if it is in the cache of every machine; otherwise all compute it."""
        path = self.job.store.cached_path(key)
        return path if self.job.world.all_reduce_mean(float(path is not None)) == 1.0 else None

    def _computed(self, images: ImageSet, part: range, key: str, what: str) -> Generator[Event, None, Path | Tensor]:
        """Compute and cache a shard; return its file, or its rows where it could not be cached."""
        job = self.job
        steps = forward_all(
            self._network,
            images,
            job.plan.input,
            job.device,
            world=job.world,
            what=f"{what} features",
            batch_size=self.batch_size,
            part=part,
        )
        rows = yield from _counted(steps, part, len(images))
        if job.world.is_first:
            try:
                job.store.put_cached(key, save_tensors({NAME: rows}))
            except ResourceError as error:  # a full or read-only cache does not stop a run
                LOG.warning("the %s features were not cached: %s", what, error.why.partition("\n")[0])
        return rows if len(part) == len(images) else self._cached(key) or rows


def _counted(steps: Generator[Event, None, Tensor], part: range, total: int) -> Generator[Event, None, Tensor]:
    """Pass on the progress of a part as that of all images."""

    def counted(event: Progress) -> Progress:
        return replace(event, done=part.start + len(part) * event.done // event.total, total=total)

    return with_progress(steps, counted)
