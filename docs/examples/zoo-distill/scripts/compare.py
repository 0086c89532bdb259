"""Trains horses-cnn with its teacher and without, on wrong labels and on right ones, and prints a table.

    python compare.py [RUNS]

Without means `settings.soft=0`: the same images, order, augmentation and steps, but nobody is asked. RUNS is the folder
of runs; by default, runs. Twelve runs, of about a minute each on two CPU cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

import zoo_core as zoo

SEEDS = (0, 1, 2)
LABELS = {"three in ten wrong": "horses-mislabelled", "right": "horses-or-humans"}
LEARNS_FROM = {"labels alone": 0.0, "labels and teacher": 0.9}  # settings.soft


def main(out: Path) -> None:
    """Print a row for each way to learn: the accuracy on the 256 validation images after the last epoch."""
    print("| labels | learns from |" + "".join(f" seed {seed} |" for seed in SEEDS) + " mean |")
    print("|---|---|" + "---|" * (len(SEEDS) + 1), flush=True)
    for labels, dataset in LABELS.items():
        for learns_from, soft in LEARNS_FROM.items():
            chosen = {"dataset": dataset, "settings.soft": soft}
            results = [zoo.run("horses-distill", seed=seed, overrides=chosen, out=out) for seed in SEEDS]
            found = [one.metrics["validation_accuracy"] for one in results]
            cells = "".join(f" {100 * value:.1f} % |" for value in [*found, mean(found)])
            print(f"| {labels} | {learns_from} |{cells}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
