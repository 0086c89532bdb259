"""How to compute: as PyTorch does by default, or in what the processor does faster with the same outcome."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_core.recipes import PrecisionName


@dataclass(frozen=True)
class Precision:
    """A type to multiply in, and whether all else is as PyTorch does it by default.

    Not plain: images lie in memory with their channels last, the optimizer takes its step in one fused pass, and
    convolutions and matrix products are in `dtype`, while weights, their gradients and the loss stay in float32.
    """

    dtype: torch.dtype = torch.float32
    plain: bool = False

    @classmethod
    def pick(cls, asked: PrecisionName, device: torch.device) -> Precision:
        """Return the arithmetic for a recipe's precision.

        "float32" is the plain path, always. "auto" takes bfloat16 where the device multiplies in it.
        """
        if asked == "float32":
            return FLOAT32
        return cls(torch.bfloat16 if asked == "bfloat16" or _has_bfloat16(device) else torch.float32)

    @property
    def name(self) -> str:
        """What to call it in files: "float32" or "bfloat16"; "plain float32" for the plain path."""
        return f"{'plain ' if self.plain else ''}{str(self.dtype).removeprefix('torch.')}"

    def to_memory_format(self, model: nn.Module) -> nn.Module:
        """Lay the model's parameters out in memory, in place; their values stay."""
        return model if self.plain else model.to(memory_format=torch.channels_last)

    def to_device(self, inputs: Tensor, device: torch.device) -> Tensor:
        """Bring inputs to the device, images (N, C, H, W) with their channels last."""
        if self.plain or inputs.ndim != 4:
            return inputs.to(device)
        return inputs.to(device, memory_format=torch.channels_last)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context in which is computed in `dtype`."""
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


FLOAT32 = Precision(plain=True)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
