"""timm's Inception v3, with the source's head in place of its classifier."""

from __future__ import annotations

import timm
from torch import nn

HIDDEN = 1024  # units between the trunk's features and the classes


def horses_inception(num_classes: int) -> nn.Module:
    """Build the trunk, without the auxiliary classifier, below `fc`: 2048 → 1024 → ReLU → num_classes.

    Maps (N, 3, 299, 299) float32 in [-1, 1] to logits (N, num_classes): 21,785,568 + 2,100,226 parameters for two.
    """
    model: nn.Module = timm.create_model("inception_v3", pretrained=False, num_classes=0)
    model.fc = nn.Sequential(nn.Linear(2048, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes))
    return model
