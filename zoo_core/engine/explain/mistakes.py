"""Renders the images with the highest loss and their Grad-CAM overlays, for the report of a run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.data.preprocessing import normalize_transform, resize_transform
from zoo_core.engine.explain.gradcam import gradcam
from zoo_core.events import Predictions
from zoo_core.images.image_sets import ImageSet
from zoo_core.multi_label import MultiLabelTable
from zoo_core.results import Mistake

SHOWN = 8  # images
NO_LABEL = "none"
OPACITY = 0.45  # of the heat map


def worst_predictions(
    model: nn.Module, images: ImageSet, spec: ImageInput, predictions: Predictions, precision: Precision
) -> Iterator[Mistake]:
    """Yield the images whose true class got the lowest probability, the worst first.

    Of multi-label predictions, those with the highest loss: `probability` is then the geometric mean of what the model
    gave to the truth about each class. Grad-CAM is of the likeliest class.
    """
    rows = torch.tensor(predictions.probabilities)
    given = _of_the_truth(rows, predictions.labels)
    for index in given.argsort()[:SHOWN].tolist():
        likeliest = int(rows[index].argmax())
        seen = resize_transform(spec)(images[index][0])
        label, predicted = _in_words(predictions, index, images.classes, likeliest)
        overlay = _overlay(model.eval(), seen, spec, likeliest, precision)
        yield Mistake(predictions.names[index], label, predicted, given[index].item(), _png(_rgb(seen)), overlay)


def _of_the_truth(rows: Tensor, labels: Sequence[Any]) -> Tensor:
    """Return (N,), the probability of each image's label."""
    if not any(isinstance(label, tuple) for label in labels):
        return rows[torch.arange(len(labels)), torch.tensor(labels)]
    truth = torch.zeros_like(rows)
    for row, label in zip(truth, labels, strict=True):
        row[list(label)] = 1.0
    return (rows * truth + (1 - rows) * (1 - truth)).clamp_min(1e-12).log().mean(dim=1).exp()


def _in_words(predictions: Predictions, index: int, classes: Sequence[str], likeliest: int) -> tuple[str, str]:
    """Return the labels of an image and what is predicted for it."""
    label: Any = predictions.labels[index]
    if not isinstance(predictions, MultiLabelTable):
        return classes[label], classes[likeliest]
    true, predicted = (predictions.names_of(each) for each in (label, predictions.predicted[index]))
    return ", ".join(true) or NO_LABEL, ", ".join(predicted) or NO_LABEL


def _overlay(model: nn.Module, seen: Tensor, spec: ImageInput, label: int, precision: Precision) -> bytes | None:
    """Return the image with a heat map of the regions that support the class, as a PNG."""
    device = next(model.parameters()).device
    inputs = normalize_transform(spec)(seen.unsqueeze(0).to(device))
    with precision.autocast(device):
        heat = gradcam(model, precision.to_device(inputs, device), label)
    if heat is None:
        return None
    colours = torch.tensor(colormaps["inferno"](heat.numpy())[..., :3]) * 255
    return _png((1 - OPACITY) * _rgb(seen) + OPACITY * colours)


def _rgb(seen: Tensor) -> Tensor:
    """Return (H, W, 3) from (C, H, W), where C is 1 or 3."""
    return seen.expand(3, -1, -1).permute(1, 2, 0)


def _png(pixels: Tensor) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).contiguous().numpy()).save(content, "PNG")
    return content.getvalue()
