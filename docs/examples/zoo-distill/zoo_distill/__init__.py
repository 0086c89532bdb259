"""Knowledge distillation: a trainer, a dataset with many wrong labels, and recipes for both."""

from __future__ import annotations

from typing import Any

from zoo_core import DatasetCard, Edition, File, Recipe, Source, TrainerCard, hookimpl


def _in(path: str, size: int, sha256: str) -> File:
    """Describe a file inside an installed package."""
    return File(sources=(Source(uri=f"package:{path}", size=size, sha256=sha256),), size=size, sha256=sha256)


PICTURES = {  # in the distribution zoo-horses-or-humans
    "train": _in(
        "zoo_horses_or_humans/data/train.zip",
        10_054_444,
        "2d177bf21ed67e4bdf2283274dc361b3769e2d53350807f928433f2d61b21488",
    ),
    "validation": _in(
        "zoo_horses_or_humans/data/validation.zip",
        923_272,
        "8ef8f48c2c9000d0247e29fa94e49fd68cb9775a270cd5d8193195a7fef026e2",
    ),
}
WHOLE = Edition(
    name="whole",
    summary="all images; of the 1,027 training labels 308 are wrong",
    files={
        **PICTURES,
        "labels": _in(
            "zoo_distill/data/whole.csv",  # size and hash as printed by scripts/make_labels.py
            47_370,
            "cf65e8aed41ac0a88d45ab8f44f738c60fd7bf090cc6666feaf380f1bbe2af7c",
        ),
    },
    examples={"train": 1_027, "validation": 256},
)
SMALL = Edition(
    name="small",
    summary="96 of the images, for a quick try; of the 64 training labels 19 are wrong",
    files={
        **PICTURES,
        "labels": _in(
            "zoo_distill/data/small.csv",
            3_657,
            "a2925f60d207a2e8ec6d3435e36b0a07597d404c58623065ef7648e91cf063ac",
        ),
    },
    examples={"train": 64, "validation": 32},
)


@hookimpl
def zoo_trainers() -> list[TrainerCard]:
    """Return the trainer."""
    return [
        TrainerCard(
            name="distillation",
            summary="Trains a student on a teacher's softened probabilities and on the labels",
            trainer="zoo_distill.trainer:Distillation",  # imported only when it trains
            settings="zoo_distill.settings:DistillationSettings",
        )
    ]


@hookimpl
def zoo_datasets() -> list[DatasetCard]:
    """Return the dataset."""
    return [
        DatasetCard(
            name="horses-mislabelled",
            summary="Horses or Humans, three in ten training labels wrong; the validation labels are right",
            license="CC-BY-2.0",
            attribution="Horses or Humans by Laurence Moroney (laurencemoroney.com), CC BY 2.0; labels changed",
            source="https://laurencemoroney.com/datasets.html",
            classes=("horses", "humans"),
            editions=(WHOLE, SMALL),
            loader="zoo_distill.data:load",  # imported only when it is opened
        )
    ]


@hookimpl
def zoo_recipes() -> list[Recipe]:
    """Return a recipe for the dataset above, and one that works offline."""
    horses: dict[str, Any] = {
        "name": "horses-distill",
        "summary": "HorsesHumansCNN from mislabeled images, taught by Inception v3",
        "model": "horses-cnn",
        "dataset": "horses-mislabelled",
        "trainer": "distillation",
        "epochs": 5,
        "batch_size": 16,
        "optimizer": {"name": "adam", "lr": 3e-4},
        "schedule": "cosine",
        "augment": [{"name": "horizontal-flip"}],
    }
    fashion: dict[str, Any] = {
        "name": "fashion-distill",
        "summary": "FashionCNN from scratch, taught by its own trained weights; works offline",
        "model": "fashion-cnn",
        "dataset": "fashion-mnist",
        "trainer": "distillation",
        "epochs": 2,
        "batch_size": 64,
        "settings": {"teacher": "fashion-cnn"},
    }
    return [Recipe.model_validate(horses), Recipe.model_validate(fashion)]
