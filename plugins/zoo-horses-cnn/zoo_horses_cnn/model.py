"""HorsesHumansCNN as in the tutorial notebook, layer for layer, except that the loss applies the final sigmoid."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class HorsesHumansCNN(nn.Module):
    """Maps (N, 3, side, side) float32 to logits: (N, 1) for two classes, else (N, num_classes).

    Each of three poolings halves the side: 150 → 75 → 37 → 18. The notebook ends in a sigmoid and trains with
    BCELoss; one logit with binary cross-entropy on logits is the same function, but does not overflow.
    """

    def __init__(self, num_classes: int = 2, *, side: int = 150) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(64 * (side // 8) ** 2, 512)
        self.drop = nn.Dropout(0.25)
        self.fc2 = nn.Linear(512, 1 if num_classes == 2 else num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1) or (N, num_classes)."""
        maps = self.pool(F.relu(self.conv1(images)))
        maps = self.pool(F.relu(self.conv2(maps)))
        maps = self.pool(F.relu(self.conv3(maps)))  # (N, 64, side // 8, side // 8)
        logits: Tensor = self.fc2(self.drop(F.relu(self.fc1(maps.flatten(1)))))
        return logits


def horses_cnn(num_classes: int) -> HorsesHumansCNN:
    """Build the network for 150 × 150 pixels: 10,641,441 parameters with one logit."""
    return HorsesHumansCNN(num_classes)


def horses_cnn_300(num_classes: int) -> HorsesHumansCNN:
    """Build the network for 300 × 300 pixels: 44,884,001 parameters with one logit."""
    return HorsesHumansCNN(num_classes, side=300)
