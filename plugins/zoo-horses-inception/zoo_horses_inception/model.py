"""timm's Inception v3, or another timm backbone, with the head of the tutorial notebook as its classifier."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import timm
from torch import nn

from zoo_core import UnknownName, UsageError
from zoo_horses_inception.google_pooling import pool_as_google

DEFAULT = "inception_v3"
Pooling = Literal["timm", "google"]
HIDDEN = 1024  # units between the backbone's features and the classes


def horses_inception(num_classes: int, *, backbone: str = DEFAULT, pooling: Pooling = "timm") -> nn.Module:
    """Build a backbone without its auxiliary classifier, and the head `fc`: features → 1024 → ReLU → num_classes.

    With the default, maps (N, 3, 299, 299) float32 in [-1, 1] to logits (N, num_classes): 21,785,568 + 2,100,226
    parameters for two classes, with the names that the notebook and timm use. With another backbone, the modules are
    `trunk` and `fc`.

    Args:
        num_classes: units of the last layer.
        backbone: timm's name.
        pooling: of the default backbone. "google": as in the graph that Google's 2015 weights were trained in, where
            averages leave out the padding and the last block takes the maximum. "timm": averages everywhere, with it.

    Raises:
        UnknownName: timm has no such backbone.
        UsageError: another backbone has no choice of pooling, or there is no such pooling.
    """
    if pooling not in ("timm", "google") or (pooling == "google" and backbone != DEFAULT):
        raise UsageError(
            f"{backbone} has no pooling {pooling!r}", why=f"{DEFAULT} has two, timm and google; others have only timm's"
        )
    network = new_backbone(backbone)
    if pooling == "google":
        pool_as_google(network)
    width: int = network.head_hidden_size  # type: ignore[assignment]  # timm's name for the width of its features
    head = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes))
    if backbone != DEFAULT:
        return nn.Sequential(OrderedDict(trunk=network, fc=head))  # weights files carry these names
    network.fc = head
    return network


def new_backbone(name: str) -> nn.Module:
    """Build one of timm's models without its classifier, randomly initialized.

    Raises:
        UnknownName: timm has no such model.
    """
    if not timm.is_model(name):
        raise UnknownName("timm model", name, timm.list_models(), fix="python -c 'import timm; timm.list_models()'")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return network
