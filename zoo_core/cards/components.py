"""Augmentations, optimizers, losses and metrics that recipes choose by name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zoo_core.cards.fields import (
    FrozenModel,
    Name,
    Reference,
    Task,
)
from zoo_core.metrics import MetricKind

ComponentKind = Literal["augmentation", "optimizer", "loss", "metric"]


class Component(FrozenModel):
    """A part of training that recipes choose by name: an augmentation, an optimizer, a loss or a metric.

    `build` gets the validated settings as keyword arguments. Depending on the kind it is

    - augmentation: `build(**settings)` -> a function that maps one (C, H, W) uint8 tensor to another of the same shape;
      it draws from PyTorch's global generator only, which is seeded for each image
    - optimizer: `build(parameters, **settings)` -> `torch.optim.Optimizer`; `lr` is always one of the settings. What
      changes from step to step belongs in its `state`, as tensors or numbers: checkpoints save nothing else
    - loss: `build(**settings)` -> `loss(logits, labels)`, which returns a scalar tensor: the mean over the batch
    - metric: `build(logits, labels, **settings)` -> a finite float, over all validation images at once

    Logits are (N, K) float32, labels (N,) int64; K may be 1 for two classes: see `class_logits`. Multi-label data has
    labels (N, K) float32, 1 where an image has a class and 0 elsewhere.
    """

    kind: ComponentKind
    name: Name = Field(description="what a recipe calls it")
    summary: str
    build: Reference
    settings: Reference | None = Field(
        default=None,
        description="a pydantic model of its settings, in a module that does not import torch; None: it has none, or "
        "only `lr` if it is an optimizer",
    )
    tasks: tuple[Task, ...] = Field(
        default=("single-label",),
        description="of a loss or a metric: the data that it understands; data of another task is refused",
    )
    metric_kind: MetricKind = Field(
        default="number", description="of a metric: fraction (shown in percent), loss or number"
    )
