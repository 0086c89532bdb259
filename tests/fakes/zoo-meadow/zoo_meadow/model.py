from __future__ import annotations

from torch import Tensor, nn


class MeadowNet(nn.Module):
    def __init__(self, num_classes: int, outputs: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, kernel_size=3, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, num_classes if outputs is None else outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.bn(self.conv(images)).relu().mean(dim=(2, 3)))
