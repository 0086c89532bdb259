"""The number format to compute in, and whether to use faster paths than PyTorch's defaults."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_core.recipes.settings import PrecisionName


@dataclass(frozen=True)
class Precision:
    """The dtype of convolutions and matrix products; weights, gradients and the loss are always float32.

    On the fast path, images are in channels-last memory format, the optimizer is fused, ReLU and MaxPool2d may be
    swapped, and freed memory is retained between steps. Without it, everything is as PyTorch does it by default.
    """

    dtype: torch.dtype = torch.float32
    fast_path: bool = True

    @classmethod
    def pick(cls, name: PrecisionName, device: torch.device) -> Precision:
        """Return the precision for a recipe's setting.

        "float32" is PyTorch's default path. "auto" is bfloat16 where the device has instructions for it, else float32,
        both on the fast path.
        """
        if name == "float32":
            return FLOAT32
        return cls(torch.bfloat16 if name == "bfloat16" or _has_bfloat16(device) else torch.float32)

    @property
    def name(self) -> str:
        """The name in files: "float32" or "bfloat16" on the fast path, "plain float32" for PyTorch's default path."""
        return f"{'' if self.fast_path else 'plain '}{str(self.dtype).removeprefix('torch.')}"

    def to_memory_format(self, model: nn.Module) -> nn.Module:
        """Change the memory format of the model's parameters in place; their values stay the same."""
        return model.to(memory_format=torch.channels_last) if self.fast_path else model

    def to_device(self, inputs: Tensor, device: torch.device) -> Tensor:
        """Move inputs to the device; on the fast path, images (N, C, H, W) become channels-last."""
        if not self.fast_path or inputs.ndim != 4:
            return inputs.to(device)
        return inputs.to(device, memory_format=torch.channels_last)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context in which PyTorch computes in `dtype`."""
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


FLOAT32 = Precision(fast_path=False)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
