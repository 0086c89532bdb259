"""The card of a variant of `horses-inception`: another timm backbone, with its preprocessing."""

from __future__ import annotations

from typing import Any

import torch
from timm.data.config import resolve_model_data_config

from zoo_core import ImageInput, ModelCard
from zoo_horses_inception.model import DEFAULT, Pooling, horses_inception, new_backbone


def adapt(card: ModelCard, *, backbone: str = DEFAULT, pooling: Pooling = "timm") -> ModelCard:
    """Return the card for this backbone: timm's preprocessing, its parameter counts, and no weights.

    `pooling` changes nothing on the card.
    """
    if backbone == DEFAULT:
        return card
    with torch.device("meta"):
        model = horses_inception(card.num_classes, backbone=backbone, pooling=pooling)
        config = resolve_model_data_config(new_backbone(backbone))  # type: ignore[no-untyped-call]
    return card.model_copy(
        update={
            "summary": f"{backbone} from timm, and a new head of 1,024 units",
            "input": _input(config),
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable_parameters": sum(p.numel() for p in model.get_submodule("fc").parameters()),
            "weights": (),
        }
    )


def _input(config: dict[str, Any]) -> ImageInput:
    """Convert timm's data configuration to an ImageInput."""
    channels, size, _ = config["input_size"]
    squash = config["crop_mode"] == "squash"
    return ImageInput(
        size=size,
        channels=channels,
        resize="squash" if squash else "crop",
        crop_fraction=1.0 if squash else config["crop_pct"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )
