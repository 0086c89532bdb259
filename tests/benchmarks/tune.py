"""What `zoo tune` gains over the recipe `transfer` on images that neither has seen: prints a table of accuracies.

    python tests/benchmarks/tune.py FOLDER
    python tests/benchmarks/tune.py FOLDER --sets flowers,trash --seeds 2 --minutes 1 --models 'efficientnet-lite*'

Every subfolder of FOLDER is a set: class folders, or train/ and val/ with class folders in them, which are then merged.
For each seed, a fifth of every class is set aside for testing; the rest is copied into a folder of its own, on which
both are trained: `transfer` with its own settings, and what `zoo tune` chooses within the time.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean
from tempfile import TemporaryDirectory

import zoo_core as zoo

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Outcome:
    """The test accuracies of one split, as fractions of 1, and what the search did."""

    transfer: float
    tuned: float
    trials: int
    replaced: bool  # whether the search took other settings than the default


def split_into(folder: Path, target: Path, seed: int) -> None:
    """Copy a set's images to `target`/rest and `target`/test, a fifth of every class to test."""
    classes: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            classes.setdefault(path.parent.name, []).append(path)
    for name, files in classes.items():
        Random(f"{seed} {name}").shuffle(files)
        held_out = max(1, len(files) // 5)
        for number, path in enumerate(files):
            place = target / ("test" if number < held_out else "rest") / name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / f"{path.parent.parent.name}-{path.name}")


def measured(folder: Path, options: argparse.Namespace, seed: int) -> Outcome:
    """Train both ways on one split of a set, and measure both on its test images."""
    overrides = {"model": options.model} if options.model else {}
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        split_into(folder, root, seed)
        common = {"data": root / "rest", "overrides": overrides, "out": root / "runs", "seed": seed, "progress": False}
        default = zoo.run("transfer", **common)
        tuning = zoo.tune("transfer", models=options.models, minutes=options.minutes, trials=options.trials, **common)
        assert tuning.run is not None
        before, after = (
            zoo.evaluate(run, data=root / "test", progress=False).accuracy for run in (default.directory, tuning.run)
        )
        return Outcome(before, after, len(tuning.trials), tuning.chosen is not tuning.default)


def main() -> None:
    """Print the table, a row as soon as a set is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="", help="names of subfolders, with commas; all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10.0, help="the search's time for each split")
    parser.add_argument("--trials", type=int, default=None, help="at most so many trials for each split")
    parser.add_argument("--model", default="", help="the recipe's backbone; by default its own")
    parser.add_argument("--models", action="append", default=[], help="more backbones for the search")
    options = parser.parse_args()
    names = options.sets.split(",") if options.sets else sorted(path.name for path in options.folder.iterdir())
    print("| set | transfer | tuned | difference | worst split | trials | settings replaced |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        outcomes = [measured(options.folder / name, options, seed) for seed in range(options.seeds)]
        gains = [one.tuned - one.transfer for one in outcomes]
        cells = [
            name,
            f"{mean(one.transfer for one in outcomes):.2%}",
            f"{mean(one.tuned for one in outcomes):.2%}",
            f"{100 * mean(gains):+.2f}",
            f"{100 * min(gains):+.2f}",
            f"{mean(one.trials for one in outcomes):.0f}",
            f"{sum(one.replaced for one in outcomes)} of {len(outcomes)}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
