"""Makes the tables of labels in zoo_distill/data: the images of each edition, with their labels.

    python make_labels.py

Three in ten training labels are wrong; the validation labels are correct. The card declares the printed values.
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path

import zoo_core as zoo

WRONG = 0.3  # of the training labels
SMALL = {"train": 64, "validation": 32}  # images of the edition "small"
TARGET = Path(__file__).parents[1] / "zoo_distill" / "data"


def rows(split: str, small: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (split, image, class), in the order of names."""
    images = zoo.load_dataset("horses-or-humans", split, edition="compact")
    draw = random.Random(f"{split} {small}")
    chosen = sorted(draw.sample(range(len(images)), SMALL[split]) if small else range(len(images)))
    wrong = set(draw.sample(chosen, round(WRONG * len(chosen)))) if split == "train" else set()
    for index in chosen:
        yield split, images.name(index), images.classes[images.label(index) ^ (index in wrong)]


def main() -> None:
    """Write both tables, and print their sizes and hashes."""
    for name, small in (("whole", False), ("small", True)):
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("split", "image", "class"))
        table.writerows(row for split in SMALL for row in rows(split, small))
        content = text.getvalue().encode()
        (TARGET / f"{name}.csv").write_bytes(content)
        print(f"{name}.csv", len(content), hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
