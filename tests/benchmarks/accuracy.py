"""Trains recipes with several seeds, and prints their accuracy; what docs/explanation/accuracy.md shows.

    zoo pull fashion-mnist.full                                    # or with --from FOLDER
    python tests/benchmarks/accuracy.py                            # five seeds of every recipe: hours on two cores
    python tests/benchmarks/accuracy.py fashion-net --seeds 1      # or some of it
    python docs/generate.py                                        # writes the page

Runs are kept below --out: a seed that has finished is not trained again, and one that was interrupted is resumed. All
finished seeds go to docs/explanation/accuracy.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t

import zoo_core as zoo
from zoo_core.runs.history import find_runs
from zoo_core.runs.summary import RunSummary

RECIPES = ("fashion-cnn-best", "fashion-net", "horses-cnn-best")
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "accuracy.json"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracies:
    """The accuracies of one recipe, by seed."""

    recipe: str
    metric: str  # test_accuracy, or validation_accuracy where there are no test images
    epochs: int
    accuracies: tuple[float, ...]  # one for each seed, from 0
    minutes: tuple[float, ...]  # of training and measuring

    @property
    def margin(self) -> float | None:
        """Half the width of the 95 % interval of the mean, by Student's t; None with a single seed."""
        seeds = len(self.accuracies)
        if seeds < 2:
            return None
        return float(t.ppf((1 + CONFIDENCE) / 2, seeds - 1)) * stdev(self.accuracies) / seeds**0.5

    def __str__(self) -> str:
        """Return one line."""
        each = " ".join(f"{100 * accuracy:.2f}" for accuracy in self.accuracies)
        seeds = f"{len(self.accuracies)} seed{'s' if len(self.accuracies) > 1 else ''}"
        margin = "" if self.margin is None else f" ± {100 * self.margin:.2f}"
        return (
            f"{self.recipe:18}{self.epochs:3} epochs  {self.metric} {100 * mean(self.accuracies):.2f}{margin} %  "
            f"({seeds}: {each})  {mean(self.minutes):.1f} minutes each"
        )


def finished(out: Path, recipe: str) -> Iterator[RunSummary]:
    """Yield the finished run of each seed, from 0, up to the first seed without one."""
    for seed in range(len(list(out.glob("seed-*")))):
        folder = out / f"seed-{seed}"
        runs = [RunSummary.of(run) for run in find_runs(folder)] if folder.is_dir() else []
        ours = [one for one in runs if one.run.parent.name == recipe and one.status == "finished"]
        if not ours:
            return
        yield ours[-1]


def measured(out: Path, recipe: str) -> Accuracies | None:
    """Return what the finished seeds of a recipe measured; None: there are none."""
    runs = list(finished(out, recipe))
    if not runs:
        return None
    metric = "test_accuracy" if "test_accuracy" in runs[0].metrics else "validation_accuracy"
    return Accuracies(
        recipe,
        metric,
        runs[0].planned_epochs,
        tuple(run.metrics[metric] for run in runs),
        tuple(run.seconds / 60 for run in runs),
    )


def train(out: Path, recipe: str, seed: int) -> None:
    """Train with one seed, or go on where that was interrupted; does nothing if it has finished."""
    if len(list(finished(out, recipe))) <= seed:
        zoo.run(recipe, seed=seed, out=out / f"seed-{seed}", resume="auto")


def write(results: list[Accuracies]) -> None:
    """Write the results beside those of other recipes."""
    page = json.loads(PAGE.read_text()) if PAGE.is_file() else {}
    page |= {one.recipe: {**asdict(one), "margin": one.margin} for one in results}
    PAGE.write_text(json.dumps(page, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Train what is missing, then print and write all that has finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=5, help="How many; 0 prints what has finished.")
    parser.add_argument("--out", type=Path, default=Path("runs-accuracy"), help="The folder of runs.")
    options = parser.parse_args()
    for recipe in options.recipes:
        for seed in range(options.seeds):
            train(options.out, recipe, seed)
    results = [one for recipe in options.recipes if (one := measured(options.out, recipe)) is not None]
    print(*results, sep="\n")
    write(results)


if __name__ == "__main__":
    main()
