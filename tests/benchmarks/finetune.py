"""Fine-tuning against a linear head on the same frozen backbone, on sets of photographs: prints a table.

    python tests/benchmarks/finetune.py FOLDER --sets flowers,trash --results results.jsonl

Every subfolder of FOLDER is a set with class folders. The seed cuts it into 60 % training, 20 % validation and 20 %
test images, the same share of every class. `finetune` keeps its best epoch by the validation images, `transfer` does
not use them; what is printed is the accuracy on the test images. Each run is a line of the results: a second start
continues. On a busy machine the wall time grows; the time of the processor, summed over its cores, hardly does.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

from sklearn.model_selection import train_test_split

import zoo_core as zoo

RECIPES = ("transfer", "finetune")
SUFFIXES = (".jpg", ".jpeg", ".png")


def split_by_seed(folder: Path, seed: int, target: Path) -> None:
    """Write a CSV file that names every image of the class folders, its class and its split."""
    files = sorted(path.absolute() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    rest, test = train_test_split(files, test_size=0.2, stratify=[f.parent.name for f in files], random_state=seed)
    train, kept_by = train_test_split(rest, test_size=0.25, stratify=[f.parent.name for f in rest], random_state=seed)
    with target.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for split, paths in (("train", train), ("validation", kept_by), ("test", test)):
            rows.writerows((path, path.parent.name, split) for path in paths)


def measure(folder: Path, recipe: str, model: str, seed: int) -> dict[str, object]:
    """Train once, and evaluate on the test images."""
    with TemporaryDirectory() as scratch:
        data = Path(scratch, f"{folder.name}.csv")
        split_by_seed(folder, seed, data)
        started = time.process_time()
        result = zoo.run(recipe, data=data, seed=seed, overrides={"model": model}, out=Path(scratch, "runs"))
        processor = time.process_time() - started
        evaluated = zoo.evaluate(result.directory, data=data, split="test")
    return {
        "set": folder.name,
        "recipe": recipe,
        "model": model,
        "seed": seed,
        "images": {split: counts.images for split, counts in result.splits.items()},
        "epoch": result.kept.epoch if result.kept else None,
        "validation_accuracy": result.metrics["validation_accuracy"],
        "test_images": evaluated.images,
        "test_accuracy": evaluated.accuracy,
        "minutes": result.seconds / 60,
        "processor_minutes": processor / 60,
    }


def rows(measured: Sequence[dict[str, object]], sets: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| set | test images | recipe | seeds | test accuracy | minutes a run | of the processor | epoch kept |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sets:
        for recipe in RECIPES:
            runs = [one for one in measured if (one["set"], one["recipe"]) == (name, recipe)]
            if runs:
                accuracies = [float(str(one["test_accuracy"])) for one in runs]
                spread = f" ± {stdev(accuracies):.2%}" if len(runs) > 1 else ""
                wall, processor = (
                    mean(float(str(one[kind])) for one in runs) for kind in ("minutes", "processor_minutes")
                )
                epochs = ", ".join(str(one["epoch"]) for one in runs)
                yield (
                    f"| {name} | {runs[0]['test_images']} | {recipe} | {len(runs)} | {mean(accuracies):.2%}{spread} "
                    f"| {wall:.1f} | {processor:.1f} | {epochs} |"
                )


def main() -> None:
    """Run what the results do not have yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="flowers,trash")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--results", type=Path, default=Path("finetune.jsonl"))
    options = parser.parse_args()
    sets = options.sets.split(",")
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    measured = [one for one in map(json.loads, lines) if one["model"] == options.model]
    done = {(one["set"], one["recipe"], one["seed"]) for one in measured}
    for seed in range(options.seeds):
        for name in sets:
            for recipe in RECIPES:
                if (name, recipe, seed) not in done:
                    measured.append(measure(options.folder / name, recipe, options.model, seed))
                    with options.results.open("a") as file:
                        file.write(json.dumps(measured[-1]) + "\n")
    print("\n".join(rows(measured, sets)))


if __name__ == "__main__":
    main()
