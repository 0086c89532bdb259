"""The pages on performance and scaling, made from explanation/performance.json; tests/benchmarks/speed.py writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "explanation" / "performance.json"
IMAGENET = 1_281_167  # training images of ImageNet-1k
FEATURES = 2048  # float32 values per image from Inception v3
WORDING = {  # clearer than what the benchmark calls its measurements
    "features not kept": "no cached features",
    "features kept": "cached features",
    "with 1,000 cards more, against without": "with 1,000 additional cards, against none",
}
Parts = dict[str, dict[str, Any]]  # the benchmark's parts by name


def measured() -> Parts:
    """Return all measured parts."""
    parts: Parts = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
    return parts


def performance(parts: Parts) -> Iterator[str]:
    """Yield the page on performance."""
    yield PERFORMANCE
    yield "## Compared with a straightforward loop\n\n| work | ratio | lowest – highest | loop | zoo | zoo's accuracy |"
    yield "|---|---|---|---|---|---|"
    for measurement in _measurements(parts, "inception", "horses", "fashion", "predict", "list"):
        if "least" in measurement:
            yield _ratio(measurement)
    yield f"\n{NOTES}\n"
    for measurement in _measurements(parts, "growth"):
        if measurement["by"] == "optimizer":
            yield "A lower bound for an epoch of `horses-cnn`: Adam's 129 passes over"
            seconds = 129 * measurement["milliseconds"] / 1000
            yield f"{measurement['parameters']:,} parameters alone take {seconds:.1f} s.\n"
    yield "## Memory\n\n| peak memory | ratio | other | zoo | |\n|---|---|---|---|---|"
    for measurement in _measurements(parts, "memory", "folder"):
        if measurement.get("unit") == "bytes":
            theirs, ours = (f"{max(measurement[side]) / 1e9:.2f} GB" for side in ("theirs", "ours"))
            cells = (_work(measurement), str(measurement["ratio"]), theirs, ours, measurement.get("note", ""))
            yield f"| {' | '.join(cells)} |"
    yield f"\n## bfloat16\n\n{SIXTEEN}\n"
    seeds = list(_measurements(parts, "precision"))
    if seeds:
        yield "| work | bfloat16: mean | lowest – highest | float32: mean | lowest – highest |\n|---|---|---|---|---|"
    for measurement in seeds:
        cells = " | ".join(_spread(measurement["seeds"][kind]) for kind in ("bfloat16", "float32"))
        yield f"| {_work(measurement)} | {cells} |"
    yield f"\n## On a GPU\n\n{GPU}\n"
    yield from _machines(parts)


def scaling(parts: Parts) -> Iterator[str]:
    """Yield the page on scaling."""
    yield SCALING
    yield "## Classes\n\nA linear head on 2,048 features, batches of 64.\n"
    yield from _steps(parts, "classes")
    yield "## Parameters\n\nTwo linear layers on 2,592 features, batches of 8, Adam, 2 classes.\n"
    yield from _steps(parts, "parameters")
    yield from _per_parameter(parts)
    yield "## Images\n"
    yield from _images(parts)
    yield "## Ranks\n"
    yield RANKS
    for measurement in _measurements(parts, "ranks"):
        spread = f"lowest {measurement['least']}, highest {measurement['most']}"
        yield f"Measured ratio, {_work(measurement)}: {measurement['ratio']} ({spread}).\n"
    yield from _machines(parts)


def _measurements(parts: Parts, *names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        yield from parts.get(name, {}).get("figures", ())


def _ratio(measurement: dict[str, Any]) -> str:
    theirs, ours = (f"{sorted(measurement[side])[len(measurement[side]) // 2]:.2f} s" for side in ("theirs", "ours"))
    spread = f"{measurement['least']} – {measurement['most']}"
    cells = (_work(measurement), f"**{measurement['ratio']}**", spread, theirs, ours, measurement.get("accuracy", ""))
    return f"| {' | '.join(cells)} |"


def _work(measurement: dict[str, Any]) -> str:
    work: str = measurement["work"]
    for name, clearer in WORDING.items():
        work = work.replace(name, clearer)
    return work


def _spread(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2%} | {min(values):.2%} – {max(values):.2%}"


def _steps(parts: Parts, by: str) -> Iterator[str]:
    yield "| classes | parameters | time per step |\n|---|---|---|"
    for measurement in _measurements(parts, "growth"):
        if measurement["by"] == by:
            classes, parameters = measurement.get("classes", 2), measurement["parameters"]
            yield f"| {classes:,} | {parameters:,} | {measurement['milliseconds']} ms |"
    yield ""


def _per_parameter(parts: Parts) -> Iterator[str]:
    steps = [measurement for measurement in _measurements(parts, "growth") if measurement["by"] == "parameters"]
    if steps:
        largest = steps[-1]
        rate = largest["milliseconds"] / largest["parameters"] * 1e6
        yield f"The largest takes {rate:.2f} ms per million parameters and step, so 100 million parameters would take"
        yield f"about {rate * 100:,.0f} ms per step here. They need 100 M × 4 bytes × 4 (weights, gradients, Adam's two"
        yield "moments) = 1.6 GB, independent of the batch size.\n"


def _images(parts: Parts) -> Iterator[str]:
    yield IMAGES
    uncached, cached = (
        [run for run in _measurements(parts, "inception") if name in run["work"]]
        for name in ("features not kept", "features kept")
    )
    if uncached and cached:
        seconds = (min(uncached[0]["ours"]) - min(cached[0]["ours"])) / 1283
        hours = seconds * IMAGENET / 3600
        size = IMAGENET * FEATURES * 4 / 1e9
        yield f"`horses-inception` takes {1000 * seconds:.0f} ms per image here, decoding included. For ImageNet's"
        yield f"{IMAGENET:,} images that would be {IMAGENET:,} × {1000 * seconds:.0f} ms = {hours:.1f} hours on two"
        yield f"cores, and {IMAGENET:,} × {FEATURES:,} × 4 bytes = {size:.1f} GB of features, which are in memory"
        yield "while the head is trained. With R ranks, each processes 1/R of the images.\n"


def _machines(parts: Parts) -> Iterator[str]:
    days = sorted({part["day"] for part in parts.values()})
    machine = next(iter(parts.values()), None)
    if machine:
        native = "with" if machine["bfloat16"] else "without"
        yield f"\n---\n\nMeasured on {', '.join(days)} on {machine['cores']} CPU cores {native} native bfloat16, with"
        yield f"Python {machine['python']} and PyTorch {machine['torch']}, by `python tests/benchmarks/speed.py`.\n"


PERFORMANCE = """# Performance

How fast zoo is compared with the loop that the tutorial notebook "Convolutional Neural Network Parameters Breakdown"
leads to: a DataLoader, PIL transforms, float32, and an evaluation on training and validation images after every epoch.
Both run alternately, on the same images and recipe. The ratio is that of the median times; *lowest – highest* are the
extreme ratios of any two of the times. Absolute times mean little on a shared machine.

## What makes it fast

- **bfloat16.** Where the processor supports it natively, convolutions and matrix products are computed in bfloat16;
  weights, gradients, optimizer state and loss stay in float32. `--precision float32` computes in full precision.
- **Channels-last** memory format for images.
- **Fused optimizer steps.**
- **Pooling before ReLU**, where a model does it the other way round: identical results, a quarter of the work.
- **Freed memory is reused** for the next step, where glibc would return it to the system.
- **Decoded images stay in memory** if they fit; otherwise worker processes stream them.
- **A frozen backbone** sees each image once, with BatchNorm folded into its convolutions. Its features are cached.
- **Decoding runs ahead** in threads during prediction and feature extraction.
- **Commands import only what they use**: `zoo list` imports neither torch nor Rich.

The last digits of a result depend on the processor and the precision, so an image with two nearly equal classes can
change sides between bfloat16 and float32.
"""

NOTES = """\
For `horses-inception` both sides are complete processes, including imports. For the other two they are one epoch of
training and its evaluations; zoo does one more for `horses-cnn`, on the validation images without augmentation."""

SIXTEEN = """\
`tests/whole/test_precision.py` compares five seeds in bfloat16 with five in float32 for all three models: accuracies,
or losses where the accuracy varies more between seeds than between precisions."""

GPU = """\
With CUDA the same code runs with bfloat16 autocast and fused optimizers, and each rank uses one GPU. No GPU was
available for these measurements, so nothing is claimed for GPUs."""

SCALING = """# Scaling

How time and memory grow with the number of classes, parameters, images and ranks. Measured on two CPU cores, and
extrapolated where the arithmetic is shown.
"""

IMAGES = """\
Time is proportional to the number of images. Memory is not: a split stays decoded in memory if it takes at most an
eighth of the machine's memory (size² × channels bytes per image); otherwise it is streamed, with a few batches in
flight. What remains is the list of paths, labels and predictions: about 300 bytes per image, and another 32 bytes per
class for each predicted image. [Performance](performance.md) has the peaks for 10,000 and 100,000 images.
"""

RANKS = """\
`torchrun --nproc-per-node N --no-python zoo run RECIPE` distributes a run; torchrun's `--nnodes` and `--rdzv-endpoint`
extend it to several machines. In every step each rank processes its shard of the recipe's batch, and gradients are
averaged, so the loss curve is that of one process, up to rounding and to what dropout draws. The batch size limits the
useful number of ranks. Evaluation, prediction and feature extraction are sharded by image.

Each step exchanges the gradients of all trained parameters: every rank sends and receives 4 bytes × parameters,
independent of the world size (ring all-reduce). `horses-cnn` exchanges 42.6 MB per step. At 10 Gbit/s that takes 34 ms,
longer than the step itself on two cores, so a batch of 8 is not worth distributing over such a network.
`horses-inception` trains 2.1 million parameters: 8.4 MB, 7 ms. Features are exchanged once, 8 kB per image. Each rank's
memory holds the model, the optimizer state, and the decoded images if they fit its part of the machine's memory.

In training mode BatchNorm computes statistics from each rank's shard, as is usual in PyTorch. Of the packaged recipes
only `horses-inception-as-printed` trains with BatchNorm.
"""
