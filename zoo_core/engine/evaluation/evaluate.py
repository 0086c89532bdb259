"""Evaluates a model on labeled images in batches, in constant memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from torch import Tensor, nn

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.as_predictions import predictions_of
from zoo_core.engine.compute.batched import infer_batches
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World
from zoo_core.engine.compute.losses import cross_entropy as loss_of
from zoo_core.engine.compute.precision import FLOAT32, Precision
from zoo_core.engine.data.batches import iter_batches, labels_of
from zoo_core.engine.data.preprocessing import normalize_transform
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.errors import IntegrityError
from zoo_core.events import Event
from zoo_core.images.batching import inference_batch_size
from zoo_core.images.image_sets import ImageSet, names_of
from zoo_core.multi_label import MultiLabelTable
from zoo_core.predictions import PredictionTable
from zoo_core.results import Evaluation


def evaluate(
    model: nn.Module,
    images: ImageSet,
    spec: ImageInput,
    device: torch.device,
    *,
    precision: Precision = FLOAT32,
    world: World = SINGLE_PROCESS,
    thresholds: tuple[float, ...] | None = None,
) -> Generator[Event, None, Evaluation]:
    """Return the model's metrics on the images, without augmentation.

    Args:
        model: (N, C, H, W) float32 to logits (N, K).
        images: what to evaluate on.
        spec: the model's preprocessing.
        device: where to compute.
        precision: what to compute in.
        world: the processes that share the work.
        thresholds: of each class, for multi-label images; None: those with the highest F1 score on these images.

    Raises:
        DataError: an image is damaged.
        IntegrityError: the model's outputs are not finite.
    """
    network = optimize_for_inference(model.to(device), spec, precision, images=len(images))
    logits = yield from forward_all(network, images, spec, device, world=world, what="evaluating")
    if not logits.isfinite().all():
        raise IntegrityError(
            "the model's outputs are not finite",
            why="its weights contain NaN or infinity, or the precision overflows: try --precision float32",
        )
    labels = labels_of(images)
    predictions, mean = predictions_of(logits, labels, names_of(images)), loss_of(logits, labels).item()
    if labels.ndim == 2:
        return Evaluation(mean, MultiLabelTable.of(predictions, images.classes, thresholds))
    return Evaluation(mean, PredictionTable.of(predictions, images.classes))


def forward_all(
    network: nn.Module,
    images: ImageSet,
    spec: ImageInput,
    device: torch.device,
    *,
    world: World,
    what: str,
    batch_size: int | None = None,
    part: range | None = None,
) -> Generator[Event, None, Tensor]:
    """Return an optimized network's outputs for every image, (N, …) float32 in order; ranks share the work.

    With `part`, only the images with these indices are computed.

    Raises:
        DataError: an image is damaged.
    """
    scale, size = normalize_transform(spec), batch_size or inference_batch_size(spec)
    chosen = range(len(images)) if part is None else part

    def batches_of(numbers: Tensor) -> Iterator[Tensor]:
        indices = [chosen[number] for number in numbers.tolist()]
        return (scale(pixels.to(device)) for pixels in iter_batches(images, spec, indices, size))

    rows = yield from infer_batches(network, batches_of, len(chosen), device, precision=FLOAT32, world=world, what=what)
    return rows
