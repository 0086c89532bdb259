"""The pooling of Google's 2015 Inception graph, which timm's network of the same weights does not have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.inception_v3 import InceptionA, InceptionC, InceptionE
from torch import Tensor, nn


def pool_as_google(network: nn.Module) -> None:
    """Change how timm's Inception v3 pools inside its blocks, in place; parameters and their names stay.

    Averages leave out the padding, so that the border of an image is not darkened, and the last block, Mixed_7c, takes
    the maximum.
    """
    kinds = {InceptionA: _BlockA, InceptionC: _BlockC, InceptionE: _BlockE}
    for block in network.children():
        if type(block) in kinds:
            block.__class__ = kinds[type(block)]  # only their forward differs
    network.get_submodule("Mixed_7c").__class__ = _LastBlock


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class _BlockA(InceptionA):
    def forward(self, x: Tensor) -> Tensor:
        by_5 = self.branch5x5_2(self.branch5x5_1(x))
        by_3 = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), by_5, by_3, self.branch_pool(_average(x))], 1)


class _BlockC(InceptionC):
    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class _BlockE(InceptionE):
    def pooled(self, x: Tensor) -> Tensor:
        return _average(x)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        outputs = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        outputs += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(self.pooled(x))]
        return torch.cat(outputs, 1)


class _LastBlock(_BlockE):
    def pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel_size=3, stride=1, padding=1)
