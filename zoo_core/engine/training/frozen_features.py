"""The `frozen-features` trainer: a backbone that does not change need see each image only once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256

import torch
from torch import Tensor, nn

from zoo_core.engine.data.batches import labels_of, names_of
from zoo_core.engine.evaluation.evaluate import forward_all
from zoo_core.engine.models.build import split_head, state_hash
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.engine.models.weights import load_tensors, save_tensors
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import ResourceError, UsageError
from zoo_core.events import Event, Progress, TrainState
from zoo_core.images.image_sets import ImageSet
from zoo_core.registry.builtin import FrozenFeaturesSettings
from zoo_core.runs.environment import package_version

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What the backbone makes of a set of images: `rows` (N, D) float32."""

    rows: Tensor
    labels: Tensor
    names: tuple[str, ...]

    @property
    def inference_batch_size(self) -> int:
        """How many go well through a head together."""
        return 1024

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """Yield (n, D) float32, the same in every epoch."""
        return (self.rows[indices] for indices in batches)


class FrozenFeaturesTrainer:
    """Trains a head on features that are computed once, and kept in the Store for the next run."""

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the head of the job's model in place; its backbone stays as it is, buffers included."""
        if job.plan.recipe.augment:
            raise UsageError(
                "frozen-features cannot train through random augmentation",
                why="each image goes through the backbone once, so it cannot look different in every epoch",
                fix=f"zoo run {job.plan.recipe.name} --set trainer=supervised",
            )
        with split_head(job.model, job.plan.model) as (backbone, head):
            fast = cache(
                lambda: optimize_for_inference(backbone.to(job.device), job.plan.input, job.precision)
            )  # once, if at all
            features = yield from self._features(backbone, fast, job.train, job, "training")
            measures = {"train_accuracy": features}
            if job.validation is not None:
                measures["validation_accuracy"] = yield from self._features(
                    backbone, fast, job.validation, job, "validation"
                )
            precision = replace(job.precision, dtype=torch.float32)  # a head is too small to gain by 16 bits
            loop = TrainingLoop(head, job.plan.recipe, job.device, precision, job.world, job.due)
            yield from loop.train(features, measures, resume)

    def _features(
        self, backbone: nn.Module, fast: Callable[[], nn.Module], images: ImageSet, job: Job, what: str
    ) -> Generator[Event, None, Features]:
        key = feature_key(backbone, images, job)
        kept = job.store.get_cached(key)
        if job.world.all_reduce_mean(float(kept is not None)) == 1.0:  # on every machine, or all compute
            assert kept is not None
            yield Progress(f"{what} features (kept from before)", len(images), len(images), "images")
            return Features(load_tensors(kept, "kept features")["features"], labels_of(images), names_of(images))
        rows = yield from forward_all(
            fast(),
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
            except ResourceError as error:  # a cache that is full or not ours stops no run
                LOG.warning("the %s features are not kept for the next run: %s", what, error.why)
        return Features(rows, labels_of(images), names_of(images))


def feature_key(backbone: nn.Module, images: ImageSet, job: Job) -> str:
    """Return a hash of all that features depend on; change any of it, and they are computed anew."""
    depends = {
        "weights": state_hash(backbone),
        "backbone": [job.plan.model.builder, dict(job.plan.model.fixed), dict(job.plan.recipe.model_options)],
        "code": {name: package_version(name) for name in ("torch", "timm", "torchvision", "pillow", "zoo-core")},
        "plugin": package_version(job.plan.model.builder.partition(".")[0].replace("_", "-")),
        "input": job.plan.input.model_dump(mode="json"),
        "arithmetic": job.precision.name,
        "device": job.device.type,
        "images": images.fingerprint,
    }
    return sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
