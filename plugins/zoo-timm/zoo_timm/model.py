"""Builds timm's models, and lets timm put published weights under the names that its models have now."""

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
        drop_path_rate: the share of residual branches left out, in training, by those models that know it.

    Raises:
        UnknownName: the installed timm has no such model.
    """
    if not timm.is_model(model):  # nothing else: timm would also take the address of a repository or of a folder
        raise UnknownName("timm model", model, timm.list_models(pretrained=True), fix="pip install --upgrade timm")
    return _created(model, num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate)


def convert(model: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return published tensors under the names and shapes of the model's own.

    Most need nothing done. Older ones go through timm's own loading, into a second model of their number of classes.

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
    """Return shapes by name, without those of the classifier: its number of classes is the user's."""
    config: Any = model.pretrained_cfg
    return {name: tuple(t.shape) for name, t in tensors.items() if not name.startswith(f"{config['classifier']}.")}
