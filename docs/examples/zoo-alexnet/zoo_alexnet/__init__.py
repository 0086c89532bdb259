"""torchvision's AlexNet, wrapped without writing any torch code."""

from __future__ import annotations

from zoo_core import ImageInput, ModelCard, hookimpl


@hookimpl
def zoo_models() -> list[ModelCard]:
    """Return the model."""
    return [
        ModelCard(
            name="alexnet",
            summary="AlexNet: five convolutions, three linear layers, 1,000 classes",
            license="BSD-3-Clause",
            source="https://arxiv.org/abs/1404.5997",
            builder="torchvision.models:alexnet",
            input=ImageInput(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            num_classes=1000,
            head="classifier.6",
            parameters=61_100_840,
            trainable_parameters=4_097_000,  # of the last linear layer, when only it is trained
        )
    ]
