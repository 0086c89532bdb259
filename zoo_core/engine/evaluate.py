"""Evaluates a model on labelled images, batch after batch, with flat memory."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from zoo_core.cards import ImageInput
from zoo_core.engine.data import ImageSet, scaling, stream
from zoo_core.engine.objective import loss as loss_of
from zoo_core.engine.objective import probabilities
from zoo_core.results import ClassResult, Evaluation, Event, Predictions, Progress

BATCH = 64  # images that go through the model together


def evaluate(
    model: nn.Module, images: ImageSet, spec: ImageInput, device: torch.device
) -> Generator[Event, None, Evaluation]:
    """Send every image, clean, through the model in evaluation mode.

    Raises:
        DataError: an image is damaged.
    """
    model.eval()
    scale, rows, labels, total = scaling(spec), [], [], 0.0
    for pixels, batch_labels in stream(images, spec, BATCH):
        with torch.inference_mode():  # never across a yield: the mode is the thread's, not the generator's
            logits = model(scale(pixels.to(device)))
            total += loss_of(logits, batch_labels.to(device)).item() * len(batch_labels)
            rows.append(probabilities(logits).cpu())
        labels.append(batch_labels)
        yield Progress("evaluating", sum(map(len, labels)), len(images))
    names = tuple(images.name(index) for index in range(len(images)))
    return summarise(torch.cat(rows), torch.cat(labels), names, images.classes, loss=total / len(images))


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
