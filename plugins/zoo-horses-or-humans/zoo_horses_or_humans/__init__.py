"""The dataset Horses or Humans: 1,283 rendered images, 300 × 300 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from zoo_core import DatasetCard, Edition, File, hookimpl

EXAMPLES: Mapping[Literal["train", "validation", "test"], int] = {"train": 1027, "validation": 256}
ORIGINS = (
    "https://storage.googleapis.com/learning-datasets",
    "https://storage.googleapis.com/download.tensorflow.org/data",
)


COMPACT = Edition(
    name="compact",
    summary="all images as WebP at quality 80; shipped with this package",
    files={
        "train": File.shipped(
            "zoo_horses_or_humans/data/train.zip",
            10_054_444,
            "2d177bf21ed67e4bdf2283274dc361b3769e2d53350807f928433f2d61b21488",
        ),
        "validation": File.shipped(
            "zoo_horses_or_humans/data/validation.zip",
            923_272,
            "8ef8f48c2c9000d0247e29fa94e49fd68cb9775a270cd5d8193195a7fef026e2",
        ),
    },
    examples=EXAMPLES,
)

ORIGINAL = Edition(
    name="original",
    summary="the original PNG files; a download of 161 MB",
    files={
        "train": File.download(
            f"{ORIGINS[0]}/horse-or-human.zip",
            149_574_867,
            "e2e6f70d3d549c5dd10a57165e55af253ee66ad750403f95c0fb76bb943633a9",
            "zoo_core:rezip",
            content_size=149_543_991,
            content_sha256="bbe88bc91b227744f61dc69c05a1a1bd4bc70125210315188552ae6f3927454b",
            mirrors=(f"{ORIGINS[1]}/horse-or-human.zip",),
        ),
        "validation": File.download(
            f"{ORIGINS[0]}/validation-horse-or-human.zip",
            11_480_187,
            "ae5fff2f4f5554791f05358108e2e05d9801b191f1896ea101402f0e7f6c32c0",
            "zoo_core:rezip",
            content_size=11_558_997,
            content_sha256="71e46b9a5e858392480346bbc2d243064bb3ad4f4f9c631ff1c2d265b800f096",
            mirrors=(f"{ORIGINS[1]}/validation-horse-or-human.zip",),
        ),
    },
    examples=EXAMPLES,
)


@hookimpl
def zoo_datasets() -> list[DatasetCard]:
    """Return the dataset."""
    return [
        DatasetCard(
            name="horses-or-humans",
            summary="Rendered horses and humans in many poses, on varied backgrounds; 300 × 300 pixels",
            license="CC-BY-2.0",
            attribution="Horses or Humans by Laurence Moroney (laurencemoroney.com), CC BY 2.0",
            source="https://laurencemoroney.com/datasets.html",
            classes=("horses", "humans"),
            editions=(COMPACT, ORIGINAL),
            loader="zoo_horses_or_humans.data:load",
        )
    ]
