"""HorsesHumansCNN: a small network for horses and humans, trained from scratch."""

from __future__ import annotations

from zoo_core import Component, ImageInput, ModelCard, hookimpl


def _card(name: str, summary: str, *, size: int, parameters: int) -> ModelCard:
    return ModelCard(
        name=name,
        summary=summary,
        license="Apache-2.0",
        source='the tutorial notebook "Convolutional Neural Network Parameters Breakdown", class HorsesHumansCNN',
        builder=f"zoo_horses_cnn.model:{name.replace('-', '_')}",
        input=ImageInput(size=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        num_classes=2,
        classes=("horses", "humans"),
        head="fc2",
        parameters=parameters,
    )


@hookimpl
def zoo_models() -> list[ModelCard]:
    """Return the model, and the larger variant that the notebook has commented out."""
    return [
        _card(
            "horses-cnn",
            "Three convolutions, two linear layers, one logit; 150 × 150 pixels",
            size=150,
            parameters=10_641_441,
        ),
        _card(
            "horses-cnn-300",
            "The notebook's commented-out variant of horses-cnn; 300 × 300 pixels",
            size=300,
            parameters=44_884_001,
        ),
    ]


@hookimpl
def zoo_components() -> list[Component]:
    """Return the augmentation against a change of backgrounds."""
    return [
        Component(
            kind="augmentation",
            name="flat-background",
            summary="Fill the background of a picture, as far as its border shows it, with one color",
            build="zoo_horses_cnn.augmentation:flat_background",
            settings="zoo_horses_cnn.settings:FlatBackgroundSettings",
        )
    ]
