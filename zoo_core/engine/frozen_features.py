"""The `frozen-features` trainer: a trunk that does not change need see each image only once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256

import torch
from torch import Tensor, nn

from zoo_core.engine.build import load_tensors, save_tensors, split_head, state_hash
from zoo_core.engine.data import ImageSet, labels_of, names_of
from zoo_core.engine.evaluate import through
from zoo_core.engine.inference import inferring
from zoo_core.engine.loop import Loop
from zoo_core.engine.trainer import Job
from zoo_core.environment import package_version
from zoo_core.errors import ResourceError, UsageError
from zoo_core.results import Event, Progress, TrainState
from zoo_core.trainers import FrozenFeaturesSettings

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What the trunk makes of a set of images: `rows` (N, D) float32."""

    rows: Tensor
    labels: Tensor
    names: tuple[str, ...]

    @property
    def at_once(self) -> int:
        """How many go well through a head together."""
        return 1024

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, D) float32, the same in every epoch."""
        return (self.rows[indices] for indices in batches)


class FrozenFeatures:
    """Trains a head on features that are computed once, and kept in the Store for the next run."""

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the head of the job's model in place; its trunk stays as it is, buffers included."""
        if job.plan.recipe.augment:
            raise UsageError(
                "frozen-features cannot train through random augmentation",
                why="each image goes through the trunk once, so it cannot look different in every epoch",
                fix=f"zoo run {job.plan.recipe.name} --set trainer=supervised",
            )
        with split_head(job.model, job.plan.model) as (trunk, head):
            fast = cache(lambda: inferring(trunk.to(job.device), job.plan.input, job.arithmetic))  # once, if at all
            features = yield from self._features(trunk, fast, job.train, job, "training")
            measures = {"train_accuracy": features}
            if job.validation is not None:
                measures["validation_accuracy"] = yield from self._features(
                    trunk, fast, job.validation, job, "validation"
                )
            arithmetic = replace(job.arithmetic, dtype=torch.float32)  # a head is too small to gain by 16 bits
            loop = Loop(head, job.plan.recipe, job.device, arithmetic, job.ranks, job.due)
            yield from loop.train(features, measures, resume)

    def _features(
        self, trunk: nn.Module, fast: Callable[[], nn.Module], images: ImageSet, job: Job, what: str
    ) -> Generator[Event, None, Features]:
        key = feature_key(trunk, images, job)
        kept = job.store.recall(key)
        if job.ranks.mean(float(kept is not None)) == 1.0:  # on every machine, or all compute
            assert kept is not None
            yield Progress(f"{what} features (kept from before)", len(images), len(images), "images")
            return Features(load_tensors(kept, "kept features")["features"], labels_of(images), names_of(images))
        rows = yield from through(
            fast(),
            images,
            job.plan.input,
            job.device,
            ranks=job.ranks,
            what=f"{what} features",
            batch_size=FrozenFeaturesSettings.model_validate(job.plan.settings).feature_batch_size,
        )
        if job.ranks.is_first:
            try:
                job.store.keep(key, save_tensors({"features": rows}))
            except ResourceError as error:  # a cache that is full or not ours stops no run
                LOG.warning("the %s features are not kept for the next run: %s", what, error.why)
        return Features(rows, labels_of(images), names_of(images))


def feature_key(trunk: nn.Module, images: ImageSet, job: Job) -> str:
    """Return a hash of all that features depend on; change any of it, and they are computed anew."""
    depends = {
        "weights": state_hash(trunk),
        "trunk": [job.plan.model.builder, dict(job.plan.model.fixed), dict(job.plan.recipe.model_options)],
        "code": {name: package_version(name) for name in ("torch", "timm", "torchvision", "pillow", "zoo-core")},
        "plugin": package_version(job.plan.model.builder.partition(".")[0].replace("_", "-")),
        "input": job.plan.input.model_dump(mode="json"),
        "arithmetic": job.arithmetic.name,
        "device": job.device.type,
        "images": images.fingerprint,
    }
    return sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
