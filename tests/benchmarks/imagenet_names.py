"""How often models that name ImageNet's 1,000 classes are right about photographs: prints a table.

    python tests/benchmarks/imagenet_names.py FOLDER
    python tests/benchmarks/imagenet_names.py FOLDER --models efficientnet-lite0,efficientnet-lite2

FOLDER contains `cats_dogs` (cats, dogs) and `flowers` (of which ImageNet has the daisy), with or without train/ and
val/. A photograph of a dog counts as right if any of ImageNet's 118 breeds is predicted; of a cat, if any of its five.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import zoo_core as zoo

SUFFIXES = (".jpg", ".jpeg", ".png")
TOP = 5


def right_names(classes: tuple[str, ...]) -> Mapping[tuple[str, str], frozenset[str]]:
    """Return the names that are right for each set and class. ImageNet's order keeps dogs and cats together."""
    return {
        ("cats_dogs", "cats"): frozenset(classes[281:286]),  # tabby to Egyptian cat
        ("cats_dogs", "dogs"): frozenset(classes[151:269]),  # Chihuahua to Mexican hairless
        ("flowers", "daisy"): frozenset({"daisy"}),
    }


def main() -> None:
    """Print a row for each class, and two columns for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="efficientnet-lite0,efficientnet-lite1,efficientnet-lite2")
    options = parser.parse_args()
    models = options.models.split(",")
    print("| class | images | names | " + " | ".join(f"{name} top 1 | top {TOP}" for name in models) + " |")
    print("|---|---|---|" + "---|---|" * len(models))
    predictors = [zoo.load(name) for name in models]
    (classes,) = {predictor.classes for predictor in predictors}
    for (photos, label), names in right_names(classes).items():
        folder = options.folder / photos
        images = sorted(p for p in folder.rglob("*") if p.parent.name == label and p.suffix.lower() in SUFFIXES)
        cells = []
        for predictor in predictors:
            answers = [[label for label, _ in answer.ranking[:TOP]] for answer in zoo.predict(predictor, images)]
            for top in (1, TOP):
                cells.append(f"{sum(not names.isdisjoint(answer[:top]) for answer in answers) / len(images):.1%}")
        print(f"| {label} | {len(images)} | {len(names)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
