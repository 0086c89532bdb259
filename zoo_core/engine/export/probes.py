"""Generated pictures with the probabilities that a model gives them; an exported file carries three.

They are generated, because a file that is handed on should not contain anybody's photographs.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image

from zoo_core.cards.models import ImageInput
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.exported.description import Probe
from zoo_core.exported.model import Pixels

CELLS = 8  # patches of one color along each side: compresses well, and no two pictures are alike


def generated_pixels(spec: ImageInput, count: int) -> Pixels:
    """Return pictures of colored squares, (count, size, size, channels) uint8; the same in every process."""
    cells = np.random.default_rng(0).integers(0, 256, (count, CELLS, CELLS, spec.channels), dtype=np.uint8)
    nearest = np.arange(spec.size) * CELLS // spec.size
    return cells[:, nearest][:, :, nearest]


def probes_of(graph: ExportGraph, spec: ImageInput, count: int) -> tuple[Probe, ...]:
    """Return generated pictures with PyTorch's probabilities."""
    pixels = generated_pixels(spec, count)
    with torch.inference_mode():
        probabilities, _ = graph(torch.from_numpy(pixels))
    return tuple(
        Probe(png=_png(one), probabilities=row) for one, row in zip(pixels, probabilities.tolist(), strict=True)
    )


def _png(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
