"""The dataset Horses or Humans: 1,283 rendered images, 300 × 300 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from zoo_core import DatasetCard, Edition, File, Source, hookimpl

EXAMPLES: Mapping[Literal["train", "validation", "test"], int] = {"train": 1027, "validation": 256}
ORIGIN = "https://storage.googleapis.com"


def _shipped(split: str, size: int, sha256: str) -> File:
    """Describe an archive inside this package, as scripts/make_compact.py printed it."""
    source = Source(uri=f"package:zoo_horses_or_humans/data/{split}.zip", size=size, sha256=sha256)
    return File(sources=(source,), size=size, sha256=sha256)


def _published(name: str, size: int, sha256: str, *, content_size: int, content_sha256: str) -> File:
    """Describe an archive that its author offers at two places; the Store keeps it re-zipped, without dates."""
    places = (f"{ORIGIN}/learning-datasets/{name}", f"{ORIGIN}/download.tensorflow.org/data/{name}")
    sources = tuple(Source(uri=uri, size=size, sha256=sha256, reader="zoo_core:rezip") for uri in places)
    return File(sources=sources, size=content_size, sha256=content_sha256)


COMPACT = Edition(
    name="compact",
    summary="every image as WebP of quality 80; shipped with this package",
    files={
        "train": _shipped("train", 10_054_444, "2d177bf21ed67e4bdf2283274dc361b3769e2d53350807f928433f2d61b21488"),
        "validation": _shipped(
            "validation", 923_272, "8ef8f48c2c9000d0247e29fa94e49fd68cb9775a270cd5d8193195a7fef026e2"
        ),
    },
    examples=EXAMPLES,
)

ORIGINAL = Edition(
    name="original",
    summary="the PNG files of the author's two archives; 161 MB to download",
    files={
        "train": _published(
            "horse-or-human.zip",
            149_574_867,
            "e2e6f70d3d549c5dd10a57165e55af253ee66ad750403f95c0fb76bb943633a9",
            content_size=149_543_991,
            content_sha256="bbe88bc91b227744f61dc69c05a1a1bd4bc70125210315188552ae6f3927454b",
        ),
        "validation": _published(
            "validation-horse-or-human.zip",
            11_480_187,
            "ae5fff2f4f5554791f05358108e2e05d9801b191f1896ea101402f0e7f6c32c0",
            content_size=11_558_997,
            content_sha256="71e46b9a5e858392480346bbc2d243064bb3ad4f4f9c631ff1c2d265b800f096",
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
            summary="Rendered horses and humans in many poses before varied backgrounds, 300 × 300 pixels",
            license="CC-BY-2.0",
            attribution="Horses or Humans by Laurence Moroney (laurencemoroney.com), CC BY 2.0",
            source="https://laurencemoroney.com/datasets.html",
            classes=("horses", "humans"),
            editions=(COMPACT, ORIGINAL),
            loader="zoo_horses_or_humans.data:load",
        )
    ]
