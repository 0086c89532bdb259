"""The page on accuracy, made from explanation/accuracy.json; tests/benchmarks/accuracy.py writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from zoo_core.registry.registry import Registry

MEASURED = Path(__file__).parent / "explanation" / "accuracy.json"


def measured() -> dict[str, dict[str, Any]]:
    """Return what was measured, by recipe."""
    recipes: dict[str, dict[str, Any]] = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
    return recipes


def accuracy(registry: Registry, recipes: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the page."""
    yield PAGE
    yield "| recipe | parameters | images | mean % | 95 % interval | lowest – highest | seeds | epochs | minutes |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, result in recipes.items():
        plan = registry.plan(name)
        split = result["metric"].removesuffix("_accuracy")
        values = [100 * value for value in result["accuracies"]]
        cells = (
            f"`{name}`",
            f"{plan.model.parameters:,}",
            f"{plan.edition.examples[split]:,} {split}",
            f"{mean(values):.2f}",
            "" if result["margin"] is None else f"± {100 * result['margin']:.2f}",
            f"{min(values):.2f} – {max(values):.2f}",
            str(len(values)),
            str(result["epochs"]),
            f"{mean(result['minutes']):.0f}",
        )
        yield f"| {' | '.join(cells)} |"
    yield f"\n{NOTES}"


PAGE = """# Accuracy

What the networks reach when they are trained from scratch, with one seed after another:

    python tests/benchmarks/accuracy.py
"""

NOTES = """The interval is that of the mean over seeds, by Student's t. Minutes are those of one run, on the machine
that measured, which other programs were using too.

- Fashion-MNIST's test images were used for these results alone, and chose nothing. The settings of `fashion-cnn-best`
  follow from one shorter run that was measured on 5,000 training images held out; those of `fashion-net` were fixed
  before its first run. The results are of networks trained on all 60,000.
- Each image is classified once, as it is: nothing is averaged over flipped or shifted copies, or over networks.
- The kept weights are the exponential average over training steps (`ema`), at the end of the last epoch.
- Horses or Humans has no test images. Its 256 validation images show their subjects before white, and its training
  images before landscapes. They are measured after every epoch, and the last epoch counts; but the augmentation was
  revised after a look at those that it got wrong, so their accuracy is optimistic.
"""
