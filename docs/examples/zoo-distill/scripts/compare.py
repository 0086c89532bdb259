"""Trains both recipes with their teachers and without, over three seeds, and prints a table.

    python compare.py [RUNS]

Without means `settings.soft=0`: the same images, order, augmentation and steps, but no teacher. RUNS is the folder
of runs; by default, runs. Twelve runs, of less than two minutes each on two CPU cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import zoo_core as zoo

SEEDS = (0, 1, 2)
MEASURES = {"fashion-distill": "test_accuracy", "horses-distill": "validation_accuracy"}  # after the last epoch
LEARNS_FROM = {"labels alone": 0.0, "labels and teacher": 0.9}  # settings.soft


def main(out: Path) -> None:
    """Print a row for each recipe and way to learn."""
    print("| recipe | learns from |" + "".join(f" seed {seed} |" for seed in SEEDS) + " mean |")
    print("|---|---|" + "---|" * (len(SEEDS) + 1), flush=True)
    for recipe, measure in MEASURES.items():
        for learns_from, soft in LEARNS_FROM.items():
            results = [zoo.run(recipe, seed=seed, overrides={"settings.soft": soft}, out=out) for seed in SEEDS]
            found = [one.metrics[measure] for one in results]
            cells = "".join(f" {100 * value:.1f} % |" for value in [*found, mean(found)])
            print(f"| `{recipe}` | {learns_from} |{cells}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
