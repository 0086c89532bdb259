"""Renders the images with the highest loss and their Grad-CAM overlays, for the report of a run."""

from __future__ import annotations

import io
from collections.abc import Iterator

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
from zoo_core.results import Mistake

SHOWN = 8  # images
OPACITY = 0.45  # of the heat map


def worst_predictions(
    model: nn.Module, images: ImageSet, spec: ImageInput, predictions: Predictions, precision: Precision
) -> Iterator[Mistake]:
    """Yield the images whose true class got the lowest probability, the worst first."""
    rows, labels = torch.tensor(predictions.probabilities), torch.tensor(predictions.labels)
    given = rows[torch.arange(len(labels)), labels]
    for index in given.argsort()[:SHOWN].tolist():
        predicted = int(rows[index].argmax())
        seen = resize_transform(spec)(images[index][0])
        name, label = predictions.names[index], images.classes[predictions.labels[index]]
        overlay = _overlay(model.eval(), seen, spec, predicted, precision)
        yield Mistake(name, label, images.classes[predicted], given[index].item(), _png(_rgb(seen)), overlay)


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
