"""Makes the sample edition from the full dataset: the first images of each class, in their order.

    python make_sample.py FOLDER-WITH-THE-FOUR-GZ-FILES

The same files give the same bytes; the lines printed are what the card declares.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

PER_CLASS = {"train": ("train", 600), "test": ("t10k", 100)}
CLASSES = 10
IMAGE_HEADER, LABEL_HEADER = 16, 8  # bytes
TARGET = Path(__file__).parents[1] / "zoo_fashion_cnn" / "data"


def sample(folder: Path, stem: str, per_class: int) -> dict[str, bytes]:
    """Return the two idx files of a sample: images and labels."""
    pixels = gzip.decompress((folder / f"{stem}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{stem}-labels-idx1-ubyte.gz").read_bytes())
    numbers = np.frombuffer(labels, np.uint8, offset=LABEL_HEADER)
    chosen = np.sort(np.concatenate([np.flatnonzero(numbers == k)[:per_class] for k in range(CLASSES)]))
    images = np.frombuffer(pixels, np.uint8, offset=IMAGE_HEADER).reshape(-1, 28 * 28)[chosen]
    count = len(chosen).to_bytes(4, "big")
    return {
        "images": pixels[:4] + count + pixels[8:IMAGE_HEADER] + images.tobytes(),
        "labels": labels[:4] + count + numbers[chosen].tobytes(),
    }


def main(folder: Path) -> None:
    """Make both splits, and print their sizes and hashes."""
    TARGET.mkdir(exist_ok=True)
    for split, (stem, per_class) in PER_CLASS.items():
        for what, content in sample(folder, stem, per_class).items():
            target = TARGET / f"{split}-{what}.gz"
            target.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
            print(split, what, target.stat().st_size, hashlib.sha256(target.read_bytes()).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
