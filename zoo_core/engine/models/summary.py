"""A model's layers as torchinfo lists them, with the arithmetic of their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchinfo
from torch import nn

from zoo_core.cards.models import ImageInput, ModelCard
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.weights import is_in_head

MIB = 1 << 20  # torchinfo's tables call it MB


@dataclass(frozen=True)
class Layer:
    """One call of a module that computes something itself: a leaf, or a module with its own parameters and children."""

    path: str  # "layer1.0"; empty for the model itself
    kind: str  # "Conv2d"
    shape: tuple[int, ...]  # of its output, without the batch dimension
    parameters: int  # without those of its children
    arithmetic: str  # "64 × (3·3·1 + 1) = 640"; empty for kinds without a formula
    trainable: bool = True  # whether its parameters are trained, as the card says; False without parameters


@dataclass(frozen=True)
class Layers:
    """All layers in call order, and the sizes for one image, in MiB.

    Sizes are counted as torchinfo does: forward and backward take two times four bytes for each leaf's outputs.
    """

    layers: tuple[Layer, ...]
    shapes: dict[str, tuple[tuple[int, ...], ...]]  # of every module's outputs, one per call, by path
    megabytes: dict[str, float]
    parameters: int


def layers_of(card: ModelCard) -> Layers:
    """List the layers of a card's model, built on the meta device, where nothing is computed."""
    with torch.device("meta"):
        model = build_model(card)
    if card.trainable_parameters is not None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = is_in_head(name, card)
    return layers_in(model, card.input)


def layers_in(model: nn.Module, spec: ImageInput) -> Layers:
    """List the layers of a module, in the order in which one image calls them."""
    size = (1, spec.channels, spec.size, spec.size)
    device = next(model.parameters()).device
    summary = torchinfo.summary(model, input_size=size, device=device, verbose=0, depth=99, mode="eval")
    leaves = [info for info in summary.summary_list if info.is_leaf_layer]
    layers = tuple(_layer(info) for info in summary.summary_list if info.is_leaf_layer or _own_parameters(info.module))
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    for info in summary.summary_list:
        shapes[_path(info)] = (*shapes.get(_path(info), ()), tuple(info.output_size[1:]))
    sizes = {
        "input": summary.total_input / MIB,
        "forward_backward": 2 * sum(info.output_bytes for info in leaves) / MIB,
        "parameters": summary.total_param_bytes / MIB,
    }
    return Layers(layers, shapes, {**sizes, "total": sum(sizes.values())}, summary.total_params)


def arithmetic(module: nn.Module) -> str:
    """Return how a layer's parameters are counted, or nothing for other kinds of layers."""
    count = f"{sum(p.numel() for p in module.parameters()):,}"
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        fan_in = f"{height}·{width}·{module.in_channels // module.groups:,}"
        return f"{module.out_channels:,} × {_with_bias(fan_in, module)} = {count}"
    if isinstance(module, nn.Linear):
        return f"{module.out_features:,} × {_with_bias(f'{module.in_features:,}', module)} = {count}"
    if isinstance(module, nn.BatchNorm2d) and module.affine:
        return f"2 × {module.num_features:,} = {count}"
    return ""


def _with_bias(fan_in: str, module: nn.Conv2d | nn.Linear) -> str:
    return f"({fan_in} + 1)" if module.bias is not None else f"({fan_in})"


def _own_parameters(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _layer(info: Any) -> Layer:  # noqa: ANN401 - torchinfo has no types
    parameters = list(info.module.parameters()) if info.is_leaf_layer else _own_parameters(info.module)
    count, trainable = sum(p.numel() for p in parameters), any(p.requires_grad for p in parameters)
    return Layer(_path(info), info.class_name, tuple(info.output_size[1:]), count, arithmetic(info.module), trainable)


def _path(info: Any) -> str:  # noqa: ANN401 - torchinfo has no types
    names: list[str] = []
    while info.parent_info is not None:
        names.insert(0, info.var_name)
        info = info.parent_info
    return ".".join(names)
