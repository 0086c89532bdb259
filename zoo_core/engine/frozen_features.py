"""The `frozen-features` trainer: a trunk that does not change need see each image only once."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor, nn

from zoo_core.engine.build import load_tensors, save_tensors, split_head, state_hash
from zoo_core.engine.data import ImageSet, scaling, stream
from zoo_core.engine.inference import for_inference, pick_precision
from zoo_core.engine.loop import train
from zoo_core.engine.trainer import Job
from zoo_core.environment import package_version
from zoo_core.errors import UsageError
from zoo_core.results import Event, Progress, TrainState
from zoo_core.trainers import FrozenFeaturesSettings


@dataclass(frozen=True)
class Features:
    """What the trunk makes of a set of images: `rows` (N, D) float32."""

    rows: Tensor
    labels: Tensor
    names: tuple[str, ...]

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
            features = yield from self._features(trunk, job.train, job, "training")
            measures = {"train_accuracy": features}
            if job.validation is not None:
                measures["validation_accuracy"] = yield from self._features(trunk, job.validation, job, "validation")
            yield from train(head, features, measures, job.plan.recipe, device=job.device, resume=resume)

    def _features(self, trunk: nn.Module, images: ImageSet, job: Job, what: str) -> Generator[Event, None, Features]:
        names = tuple(images.name(index) for index in range(len(images)))
        key = feature_key(trunk, images, job)
        kept = job.store.recall(key)
        if kept is None:
            rows, labels = yield from _through_trunk(trunk, images, job, what)
            job.store.keep(key, save_tensors({"features": rows, "labels": labels}))
        else:
            tensors = load_tensors(kept, "kept features")
            rows, labels = tensors["features"], tensors["labels"]
            yield Progress(f"{what} features (kept from before)", len(images), len(images))
        return Features(rows, labels, names)


def feature_key(trunk: nn.Module, images: ImageSet, job: Job) -> str:
    """Return a hash of all that features depend on; change any of it, and they are computed anew."""
    depends = {
        "weights": state_hash(trunk),
        "trunk": [job.plan.model.builder, dict(job.plan.recipe.model_options)],
        "code": {name: package_version(name) for name in ("torch", "timm", "torchvision", "pillow", "zoo-core")},
        "plugin": package_version(job.plan.model.builder.partition(".")[0].replace("_", "-")),
        "input": job.plan.input.model_dump(mode="json"),
        "precision": pick_precision(_settings(job).precision, job.device),
        "device": job.device.type,
        "images": images.fingerprint,
    }
    return sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def _settings(job: Job) -> FrozenFeaturesSettings:
    return FrozenFeaturesSettings.model_validate(job.plan.settings)


def _through_trunk(
    trunk: nn.Module, images: ImageSet, job: Job, what: str
) -> Generator[Event, None, tuple[Tensor, Tensor]]:
    """Send every image through the trunk, in evaluation mode, so that no buffer changes."""
    settings, scale = _settings(job), scaling(job.plan.input)
    precision = pick_precision(settings.precision, job.device)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    fast: nn.Module | None = None
    rows, labels = [], []
    for pixels, batch_labels in stream(images, job.plan.input, settings.feature_batch_size):
        with torch.inference_mode():
            batch = scale(pixels.to(job.device))
            fast = fast or for_inference(trunk.eval().to(job.device), batch[:2], precision)
            rows.append(fast(batch.to(dtype, memory_format=torch.channels_last)).float().cpu())
        labels.append(batch_labels)
        yield Progress(f"{what} features", sum(map(len, labels)), len(images))
    return torch.cat(rows), torch.cat(labels)
