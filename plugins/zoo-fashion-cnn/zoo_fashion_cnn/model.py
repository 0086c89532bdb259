"""FashionCNN as in the tutorial notebook, layer for layer."""

from __future__ import annotations

from torch import Tensor, nn


class FashionCNN(nn.Module):
    """Maps (N, 1, 28, 28) float32 to logits (N, num_classes): 333,898 parameters for ten.

    28 → 28 (padded) → 14 (pooled) → 12 (unpadded) → 6 (pooled). As in the notebook, there is no ReLU between
    `fc1` and `fc2`, so the two are one linear map.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=2))
        self.layer2 = nn.Sequential(nn.Conv2d(64, 64, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2))
        self.fc1 = nn.Linear(64 * 6 * 6, 128)
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes)."""
        maps: Tensor = self.layer2(self.layer1(images))  # (N, 64, 6, 6)
        logits: Tensor = self.fc2(self.fc1(maps.flatten(1)))
        return logits
