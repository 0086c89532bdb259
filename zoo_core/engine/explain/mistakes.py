"""Shows the images that a model got most wrong, and where it looked: what a run keeps for its report."""

from __future__ import annotations

import io
from collections.abc import Iterator

import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from zoo_core.cards import ImageInput
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.data.preprocessing import normalize_transform, resize_transform
from zoo_core.engine.explain.gradcam import gradcam
from zoo_core.events import Predictions
from zoo_core.images.image_sets import ImageSet
from zoo_core.results import Mistake

MOST = 8  # images shown
VEIL = 0.45  # how much the colours of a heat map cover


def worst_predictions(
    model: nn.Module, images: ImageSet, spec: ImageInput, predictions: Predictions, precision: Precision
) -> Iterator[Mistake]:
    """Yield the images whose own class was given the least probability, the worst first."""
    rows, labels = torch.tensor(predictions.probabilities), torch.tensor(predictions.labels)
    own = rows[torch.arange(len(labels)), labels]
    for index in own.argsort()[:MOST].tolist():
        called = int(rows[index].argmax())
        seen = resize_transform(spec)(images[index][0])
        name, label = predictions.names[index], images.classes[predictions.labels[index]]
        overlay = _overlay(model.eval(), seen, spec, called, precision)
        yield Mistake(name, label, images.classes[called], own[index].item(), _png(_rgb(seen)), overlay)


def _overlay(model: nn.Module, seen: Tensor, spec: ImageInput, called: int, precision: Precision) -> bytes | None:
    """Lay what spoke for the predicted class over the image."""
    device = next(model.parameters()).device
    inputs = normalize_transform(spec)(seen.unsqueeze(0).to(device))
    with precision.autocast(device):
        heat = gradcam(model, precision.to_device(inputs, device), called)
    if heat is None:
        return None
    colours = torch.tensor(colormaps["inferno"](heat.numpy())[..., :3]) * 255
    return _png((1 - VEIL) * _rgb(seen) + VEIL * colours)


def _rgb(seen: Tensor) -> Tensor:
    """Return (H, W, 3) of (C, H, W), C one or three."""
    return seen.expand(3, -1, -1).permute(1, 2, 0)


def _png(pixels: Tensor) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).contiguous().numpy()).save(content, "PNG")
    return content.getvalue()
