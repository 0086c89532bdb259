"""Evaluates a model on labelled images, batch after batch, with flat memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor, nn

from zoo_core.cards import ImageInput
from zoo_core.engine.arithmetic import PLAIN, Arithmetic
from zoo_core.engine.data import ImageSet, at_once, labels_of, names_of, scaling, stream
from zoo_core.engine.forward import answers
from zoo_core.engine.inference import inferring
from zoo_core.engine.objective import loss as loss_of, probabilities
from zoo_core.engine.ranks import ALONE, Ranks
from zoo_core.results import ClassResult, Evaluation, Event, Predictions


def evaluate(
    model: nn.Module,
    images: ImageSet,
    spec: ImageInput,
    device: torch.device,
    *,
    arithmetic: Arithmetic = PLAIN,
    ranks: Ranks = ALONE,
) -> Generator[Event, None, Evaluation]:
    """Send every image, clean, through the model in evaluation mode.

    Raises:
        DataError: an image is damaged.
    """
    network = inferring(model.to(device), spec, arithmetic)
    logits = yield from through(network, images, spec, device, ranks=ranks, what="evaluating")
    labels = labels_of(images)
    mean = loss_of(logits, labels).item()
    return summarise(probabilities(logits), labels, names_of(images), images.classes, loss=mean)


def through(
    network: nn.Module,
    images: ImageSet,
    spec: ImageInput,
    device: torch.device,
    *,
    ranks: Ranks,
    what: str,
    batch_size: int | None = None,
) -> Generator[Event, None, Tensor]:
    """Return what a network made by `inferring` says of every image, (N, …) float32 in order; ranks share them.

    Raises:
        DataError: an image is damaged.
    """
    scale, size = scaling(spec), batch_size or at_once(spec)

    def batches_of(indices: Tensor) -> Iterator[Tensor]:
        return (scale(pixels.to(device)) for pixels in stream(images, spec, indices.tolist(), size))

    rows = yield from answers(network, batches_of, len(images), device, arithmetic=PLAIN, ranks=ranks, what=what)
    return rows


def summarise(
    rows: Tensor, labels: Tensor, names: tuple[str, ...], classes: Sequence[str], *, loss: float
) -> Evaluation:
    """Count what (N, classes) probabilities say of (N,) labels."""
    count = len(classes)
    called = rows.argmax(dim=1)
    confusion = torch.bincount(labels * count + called, minlength=count * count).reshape(count, count)
    return Evaluation(
        images=len(labels),
        loss=loss,
        accuracy=confusion.trace().item() / len(labels),
        classes=tuple(_class_result(name, k, confusion) for k, name in enumerate(classes)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        predictions=Predictions(names, tuple(labels.tolist()), tuple(tuple(row) for row in rows.tolist())),
    )


def _class_result(name: str, k: int, confusion: Tensor) -> ClassResult:
    right, is_it, called_it = confusion[k, k].item(), confusion[k].sum().item(), confusion[:, k].sum().item()
    return ClassResult(name, int(is_it), right / called_it if called_it else None, right / is_it if is_it else None)
