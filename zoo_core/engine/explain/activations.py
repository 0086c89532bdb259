"""Collects what a network computes for one image: filters, feature maps, and the arithmetic of their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.engine.data.preprocessing import preprocessing, resize_transform
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.errors import UsageError
from zoo_core.predictions import Prediction

VERTICAL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))  # negative left, positive right, zero between
MAX_STAGES = 12  # shown of a deep network; a small one is shown completely
KINDS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Stage:
    """The maps after one convolution, pooling or block of a deep network: (channels, height, width)."""

    path: str
    kind: str
    before: tuple[int, ...]  # the size that went in, (channels, height, width)
    maps: Tensor
    why: str  # how the size follows from the previous one


@dataclass(frozen=True)
class Explanation:
    """Everything that the page about one image shows."""

    prediction: Prediction
    image: Image.Image
    seen: Tensor  # (C, size, size) uint8, as the model sees it
    vertical: Tensor  # (size - 2, size - 2): the response of the vertical-line filter
    filters: Tensor  # (N, C, h, w) of the first convolution
    first: str  # its path
    stages: tuple[Stage, ...]


def explain(predictor: Predictor, image: Image.Image, name: str) -> Explanation:
    """Send one image through the model, and record the output of each step; raises UsageError without a convolution."""
    (prediction,) = predictor.predict_each([(name, lambda: image)])
    assert isinstance(prediction, Prediction)
    seen = resize_transform(predictor.input)(image)
    convolutions = [(p, m) for p, m in predictor.model.named_modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise UsageError(
            f"{predictor.origin} has no convolution to show", fix=f"zoo show {predictor.card.name} --layers"
        )
    path, first = convolutions[0]
    with _recorded(predictor.model) as stages, torch.inference_mode():
        predictor.model(preprocessing(predictor.input)(image).unsqueeze(0).to(predictor.device))
    weight = first.weight.detach().cpu()
    return Explanation(prediction, image, seen, vertical_lines(seen), weight, path, tuple(stages))


def vertical_lines(seen: Tensor) -> Tensor:
    """Return the vertical-line filter's response (H - 2, W - 2) to an image (C, H, W): where left and right differ."""
    grey = seen.float().mean(dim=0, keepdim=True).unsqueeze(0) / 255
    return F.conv2d(grey, torch.tensor(VERTICAL)[None, None])[0, 0].abs()


def size_arithmetic(module: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Explain in one line how a layer's output size follows from its input's."""
    if not isinstance(module, KINDS):
        return f"{before[1]} → {after[1]}, inside this block"
    if isinstance(module.padding, str) or getattr(module, "dilation", 1) not in (1, (1, 1)):
        return f"{before[1]} → {after[1]}"
    kernel, stride, padding = (_side(getattr(module, name)) for name in ("kernel_size", "stride", "padding"))
    if isinstance(module, nn.Conv2d) and stride == 1:
        return _convolution(before[1], after[1], kernel, padding)
    return f"a {kernel} × {kernel} window moves by {stride}: {before[1]} → {after[1]}"


def _convolution(before: int, after: int, kernel: int, padding: int) -> str:
    lost = f"a {kernel} × {kernel} filter loses {kernel - 1}"
    if padding == 0:
        return f"without padding {lost}: {before} → {after}" if kernel > 1 else f"{before} → {after}"
    padded = before + 2 * padding
    return f"padded by {padding} on each side: {before} → {padded}; {lost}: {padded} → {after}"


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[Stage]]:
    """Collect the outputs of the modules worth showing, in call order."""
    stages: list[Stage] = []

    def keep(path: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = tuple(given[0].shape[1:]), tuple(output.shape[1:])
        why = size_arithmetic(module, before, after)
        stages.append(Stage(path, type(module).__name__, before, output[0].detach().float().cpu(), why))

    def hook(path: str) -> object:
        return lambda module, given, output: keep(path, module, given, output)

    chosen = _worth_showing(model)
    handles = [module.register_forward_hook(hook(path)) for path, module in chosen]  # type: ignore[arg-type]
    try:
        yield stages
    finally:
        for handle in handles:
            handle.remove()


def _worth_showing(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every convolution and pooling of a small network, and the blocks of a deep one."""
    leaves: list[tuple[str, nn.Module]] = [
        (path, module) for path, module in model.named_modules() if isinstance(module, KINDS)
    ]
    if len(leaves) <= MAX_STAGES:
        return leaves
    blocks = [(path, module) for path, module in model.named_children() if _has_convolution(module)]
    if len(blocks) < 3:  # a backbone in one piece: look inside it
        blocks = [(f"{path}.{name}", inner) for path, module in blocks for name, inner in module.named_children()]
        blocks = [(path, module) for path, module in blocks if _has_convolution(module)]
    every = max(1, -(-len(blocks) // MAX_STAGES))
    return blocks[::-1][::every][::-1]  # the last one always


def _has_convolution(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.Conv2d) for inner in module.modules())
