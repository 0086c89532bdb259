"""Builds timm's models, and lets timm convert published weights to its current parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn

from zoo_core import PluginError, UnknownName


def build(
    num_classes: int, *, model: str, drop_rate: float | None = None, drop_path_rate: float | None = None
) -> nn.Module:
    """Build one of timm's models, with random parameters; it maps (N, 3, H, W) float32 to logits (N, num_classes).

    Args:
        num_classes: units of the classifier.
        model: timm's name, "resnet50.a1_in1k".
        drop_rate: dropout before the classifier, in training; None: the model's own.
        drop_path_rate: the fraction of residual branches dropped in training, in models that support it.

    Raises:
        UnknownName: the installed timm has no such model.
    """
    if not timm.is_model(model):  # timm would also accept the URL of a repository, or a folder
        raise UnknownName("timm model", model, timm.list_models(pretrained=True), fix="pip install --upgrade timm")
    return _created(model, num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate)


def convert(model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Convert published tensors to the model's parameter names and shapes.

    Most already match. Older ones are loaded by timm into a second model with their number of classes.

    Raises:
        PluginError: timm cannot load them either.
    """
    if _shapes(model.state_dict(), model) == _shapes(tensors, model):
        return tensors
    config: Any = model.pretrained_cfg
    name = f"{config['architecture']}.{config['tag']}"
    try:
        loaded = _created(name, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(tensors)})
    except (RuntimeError, KeyError, ValueError) as error:
        raise PluginError(
            f"the weights of timm/{name} do not fit", why=str(error), fix="pip install -U timm"
        ) from error
    return loaded.state_dict()


def _created(name: str, **options: Any) -> nn.Module:  # noqa: ANN401 - timm's own
    created: nn.Module = timm.create_model(name, **options)
    return created


def _shapes(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return shapes by name, without the classifier's, which depend on the number of classes."""
    config: Any = model.pretrained_cfg
    return {name: tuple(t.shape) for name, t in tensors.items() if not name.startswith(f"{config['classifier']}.")}
