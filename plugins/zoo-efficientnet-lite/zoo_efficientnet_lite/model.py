"""timm's EfficientNet-Lite, and its parameter names for weights with the names of another implementation."""

from __future__ import annotations

import re
from collections.abc import Mapping

import timm
from torch import Tensor, nn

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# A block expands the channels, filters each, and projects them; the first one only does the latter two.
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def efficientnet_lite(
    num_classes: int, *, variant: int, drop_rate: float | None = None, drop_path_rate: float | None = None
) -> nn.Module:
    """Build EfficientNet-Lite with random parameters; it maps (N, 3, H, W) float32 to logits (N, num_classes).

    Args:
        num_classes: units of the classifier.
        variant: 0, 1 or 2; the width and depth of the network.
        drop_rate: dropout before the classifier, in training; None: timm's.
        drop_path_rate: the fraction of residual branches dropped in training; None: timm's.
    """
    network: nn.Module = timm.create_model(
        f"tf_efficientnet_lite{variant}",
        pretrained=False,
        num_classes=num_classes,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
    return network


def convert(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under timm's names. Blocks are numbered throughout there, and within each stage here."""
    paths = (re.match(r"blocks\.\d+\.\d+", name) for name in model.state_dict())
    blocks = list(dict.fromkeys(path[0] for path in paths if path))
    return {_renamed(name, blocks): tensor for name, tensor in tensors.items()}


def _renamed(name: str, blocks: list[str]) -> str:
    """Return timm's name for a parameter, or the name itself, which is then reported as unknown."""
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if inside is None:
        layer, _, what = name.rpartition(".")
        return f"{OUTSIDE.get(layer, layer)}.{what}"
    number, layer = int(inside[1]), inside[2]
    names = FIRST_BLOCK if number == 0 else BLOCK
    if number >= len(blocks) or layer not in names:
        return name
    return f"{blocks[number]}.{names[layer]}.{inside[3]}"
