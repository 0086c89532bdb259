"""The network as it is exported: from 8-bit pixels to probabilities, with nothing left to do outside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.losses import class_logits, probabilities
from zoo_core.engine.evaluation.predictor import Predictor


class ExportGraph(nn.Module):
    """Maps images (N, size, size, channels) uint8 to probabilities (N, K) and logits (N, K), both float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, spec: ImageInput, *, multi_label: bool) -> None:
        super().__init__()
        self.network, self.multi_label = network, multi_label
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1))

    @classmethod
    def of(cls, predictor: Predictor) -> ExportGraph:
        """Return the graph of a model on the CPU, in evaluation mode."""
        graph = cls(predictor.model, predictor.input, multi_label=predictor.thresholds is not None)
        return graph.cpu().eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits, one column for each class."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        logits = self.network((pixels - self.mean) / self.std).float()
        scores = logits if self.multi_label else class_logits(logits)
        return probabilities(logits, multi_label=self.multi_label), scores
