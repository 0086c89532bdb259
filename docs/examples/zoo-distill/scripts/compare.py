"""Trains horses-cnn on mislabelled images with its teacher and without, over three seeds, and prints a table.

    python compare.py [RUNS]

Without means `settings.soft=0`: the same images, labels, order, augmentation and steps, but nobody is asked. RUNS is
the folder of runs; by default, runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import zoo_core as zoo

SEEDS = (0, 1, 2)
WEIGHTS = {"labels alone": 0.0, "labels and teacher": 0.9}  # settings.soft


def main(out: Path) -> None:
    """Print a row for each way to learn: the accuracy on the 256 validation images after the last epoch."""
    print("| learns from |" + "".join(f" seed {seed} |" for seed in SEEDS) + " mean |")
    print("|---|" + "---|" * (len(SEEDS) + 1))
    for name, soft in WEIGHTS.items():
        chosen = {"settings.soft": soft}
        results = [zoo.run("horses-distill", seed=seed, overrides=chosen, out=out) for seed in SEEDS]
        found = [one.metrics["validation_accuracy"] for one in results]
        print(f"| {name} |" + "".join(f" {value:.1%} |" for value in [*found, mean(found)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
