"""Uneven classes: Fashion-MNIST at 100:1, with `balance` and without; prints a table.

    zoo pull fashion-mnist.full --from FOLDER_OF_THE_FOUR_FILES     # or let the script download 31 MB
    python tests/benchmarks/uneven.py
    python tests/benchmarks/uneven.py --shape step --balances 0,0.5,1 --epochs 3 --results results.jsonl

The seed draws about 10,000 training images and decides which classes are rare. `long-tailed`: the number of images
falls by the same factor from each class to the next; `step`: half of the classes are frequent, the others rare. The
recipe is fashion-cnn, which keeps its last epoch, evaluated on all 10,000 test images, 1,000 of each class. Each run
is a line of the results, if a file is named: a second start continues.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import numpy as np

import zoo_core as zoo
from zoo_core.registry.discovery import find_plugins

NAME, RATIO = "uneven-fashion", 100
FREQUENT = {"long-tailed": 4_000, "step": 2_000}  # images of a frequent class
RARE = 3  # classes whose recall is shown as well


def class_sizes(shape: str, classes: int) -> list[int]:
    """Return the number of training images of each class, the most frequent first."""
    frequent = FREQUENT[shape]
    if shape == "step":
        return [frequent] * (classes // 2) + [frequent // RATIO] * (classes - classes // 2)
    return [round(frequent * RATIO ** (-rank / (classes - 1))) for rank in range(classes)]


def uneven(labels: np.ndarray, classes: int, shape: str, seed: int) -> tuple[np.ndarray, list[int]]:
    """Draw the indices of training images; also return the classes, the most frequent first."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(classes).tolist()
    sizes = zip(order, class_sizes(shape, classes), strict=True)
    parts = [draw.permutation(np.flatnonzero(labels == label))[:size] for label, size in sizes]
    return np.concatenate(parts), order


def load(files: Mapping[str, Path], split: str) -> zoo.ArrayImages:
    """Open a split of the plugin's dataset."""
    arrays = np.load(files[split])
    return zoo.ArrayImages(arrays["pixels"], arrays["labels"], zoo.load_registry().dataset("fashion-mnist").classes)


@dataclass(frozen=True, eq=False)  # pluggy needs plugins that can be hashed
class UnevenPlugin:
    """A dataset of the images that one seed drew."""

    files: Mapping[str, zoo.File]
    counts: Mapping[str, int]

    @zoo.hookimpl
    def zoo_datasets(self) -> list[zoo.DatasetCard]:
        """Return the dataset."""
        card = zoo.load_registry().dataset("fashion-mnist")
        edition = zoo.Edition(name="drawn", summary="drawn by a seed", files=self.files, examples=self.counts)
        return [card.model_copy(update={"name": NAME, "editions": (edition,), "loader": "uneven:load"})]


def saved(images: zoo.ImageSet, chosen: np.ndarray, path: Path) -> zoo.File:
    """Save images as arrays."""
    assert isinstance(images, zoo.ArrayImages)
    np.savez(path, pixels=images.pixels[chosen], labels=images.labels[chosen])
    content = path.read_bytes()
    return zoo.File.download(path.as_uri(), len(content), hashlib.sha256(content).hexdigest())


def main() -> None:
    """Print a row for each balance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(FREQUENT), default="long-tailed")
    parser.add_argument("--balances", default="0,1")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    balances = [float(balance) for balance in options.balances.split(",")]
    kept = options.results.read_text() if options.results and options.results.exists() else ""
    done = {tuple(key): values for key, values in map(json.loads, kept.splitlines())}
    keys = {
        balance: [(options.shape, options.epochs, seed, balance) for seed in range(options.seeds)]
        for balance in balances
    }
    for key in sorted({key for some in keys.values() for key in some} - done.keys()):
        done[key] = measured(*key)
        print(f"seed {key[2]}, balance {key[3]:g}: {done[key][0]:.2%} balanced accuracy", flush=True)
        if options.results:
            with options.results.open("a") as file:
                file.write(json.dumps([key, done[key]]) + "\n")
    images = sum(class_sizes(options.shape, 10))
    print(f"\n{options.shape} {RATIO}:1, {images:,} training images, {options.epochs} epochs\n")
    print(f"| balance | seeds | balanced accuracy | macro-F1 | recall of the {RARE} rarest |\n|---|---|---|---|---|")
    for balance, some in keys.items():
        columns = zip(*(done[key] for key in some), strict=True)
        cells = [f"{mean(column):.2%} ± {stdev(column):.2%}" for column in columns]
        print(f"| {balance:g} | {len(some)} | " + " | ".join(cells) + " |")


def measured(shape: str, epochs: int, seed: int, balance: float) -> tuple[float, float, float]:
    """Train once; return the balanced accuracy, the macro-F1, and the mean recall of the rarest classes."""
    train, test = (zoo.load_dataset("fashion-mnist", split, edition="full") for split in ("train", "test"))
    assert isinstance(train, zoo.ArrayImages)
    chosen, order = uneven(train.labels, len(train.classes), shape, seed)
    with TemporaryDirectory() as name:
        scratch, manager = Path(name), find_plugins()[0]
        files = {
            "train": saved(train, chosen, scratch / "train.npz"),
            "test": saved(test, np.arange(len(test)), scratch / "test.npz"),
        }
        manager.register(UnevenPlugin(files, {"train": len(chosen), "test": len(test)}), name=NAME)
        registry, store = zoo.load_registry(manager=manager), zoo.Store(scratch / "cache")
        overrides = {"dataset": NAME, "balance": balance}
        result = zoo.run(
            "fashion-cnn", epochs=epochs, seed=seed, overrides=overrides, out=scratch, registry=registry, store=store
        )
        evaluated = zoo.evaluate(result.directory, dataset=NAME, split="test", registry=registry, store=store)
    rarest = [evaluated.classes[label].recall or 0 for label in order[-RARE:]]
    return evaluated.balanced_accuracy, evaluated.macro_f1, mean(rarest)


if __name__ == "__main__":
    main()
