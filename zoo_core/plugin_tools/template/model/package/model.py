"""The network."""

from __future__ import annotations

from torch import Tensor, nn


class {{ class }}(nn.Module):
    """Two convolutions and a linear head: (N, 1, 28, 28) to logits (N, num_classes)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(32 * 7 * 7, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        maps = self.pool(self.conv1(images).relu())
        maps = self.pool(self.conv2(maps).relu())
        logits: Tensor = self.fc(maps.flatten(1))
        return logits
