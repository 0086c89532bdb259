"""The pages on speed and growth, made of explanation/performance.json, which tests/benchmarks/speed.py measures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "explanation" / "performance.json"
IMAGENET = 1_281_167  # training images of ImageNet-1k
FEATURES = 2048  # what Inception v3 makes of an image, float32
Figures = dict[str, dict[str, Any]]


def measured() -> Figures:
    """Return all parts that were measured."""
    found: Figures = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
    return found


def performance(parts: Figures) -> Iterator[str]:
    """Yield the page on speed."""
    yield PERFORMANCE
    yield "## Beside the loop one would write\n\n| work | ratio | least – most | theirs | ours | accuracy |"
    yield "|---|---|---|---|---|---|"
    for figure in _figures(parts, "inception", "horses", "fashion", "predict", "list"):
        if "least" in figure:
            yield _ratio(figure)
    yield f"\n{NOTES}\n"
    for figure in _figures(parts, "growth"):
        if figure["by"] == "optimizer":
            yield "A floor of an epoch of `horses-cnn`: Adam's 129 passes over"
            seconds = 129 * figure["milliseconds"] / 1000
            yield f"{figure['parameters']:,} parameters take {seconds:.1f} s by themselves.\n"
    yield "## Memory\n\n| work | ratio | theirs | ours | |\n|---|---|---|---|---|"
    for figure in _figures(parts, "memory", "folder"):
        if figure.get("unit") == "bytes":
            theirs, ours = (f"{max(figure[side]) / 1e9:.2f} GB" for side in ("theirs", "ours"))
            yield f"| {figure['work']} | {figure['ratio']} | {theirs} | {ours} | {figure.get('note', '')} |"
    yield f"\n## Sixteen bits\n\n{SIXTEEN}\n"
    seeds = list(_figures(parts, "precision"))
    if seeds:
        yield "| work | bfloat16: mean | least – most | float32: mean | least – most |\n|---|---|---|---|---|"
    for figure in seeds:
        cells = " | ".join(_spread(figure["seeds"][kind]) for kind in ("bfloat16", "float32"))
        yield f"| {figure['work']} | {cells} |"
    yield f"\n## On a GPU\n\n{GPU}\n"
    yield from _machines(parts)


def scaling(parts: Figures) -> Iterator[str]:
    """Yield the page on growth."""
    yield SCALING
    yield "## Classes\n\nA linear head on 2,048 features, batches of 64.\n"
    yield from _steps(parts, "classes")
    yield "## Parameters\n\nTwo linear layers on 2,592 features, batches of 8, Adam.\n"
    yield from _steps(parts, "parameters")
    yield from _per_parameter(parts)
    yield "## Images\n"
    yield from _images(parts)
    yield "## Ranks\n"
    yield RANKS
    for figure in _figures(parts, "ranks"):
        yield f"Measured: {figure['work']}: {figure['ratio']} (least {figure['least']}, most {figure['most']}).\n"
    yield from _machines(parts)


def _figures(parts: Figures, *names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        yield from parts.get(name, {}).get("figures", ())


def _ratio(figure: dict[str, Any]) -> str:
    theirs, ours = (f"{sorted(figure[side])[len(figure[side]) // 2]:.2f} s" for side in ("theirs", "ours"))
    spread = f"{figure['least']} – {figure['most']}"
    return f"| {figure['work']} | **{figure['ratio']}** | {spread} | {theirs} | {ours} | {figure.get('accuracy', '')} |"


def _spread(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2%} | {min(values):.2%} – {max(values):.2%}"


def _steps(parts: Figures, by: str) -> Iterator[str]:
    yield "| classes | parameters | a step |\n|---|---|---|"
    for figure in _figures(parts, "growth"):
        if figure["by"] == by:
            yield f"| {figure.get('classes', 2):,} | {figure['parameters']:,} | {figure['milliseconds']} ms |"
    yield ""


def _per_parameter(parts: Figures) -> Iterator[str]:
    found = [figure for figure in _figures(parts, "growth") if figure["by"] == "parameters"]
    if found:
        largest = found[-1]
        rate = largest["milliseconds"] / largest["parameters"] * 1e6
        yield f"The largest takes {rate:.2f} ms for each million parameters and step; so 100 million take about"
        yield f"{rate * 100:,.0f} ms a step here, and hold 100 M × 4 bytes × 4 (weights, gradients, Adam's two"
        yield "moments) = 1.6 GB, whatever the batch.\n"


def _images(parts: Figures) -> Iterator[str]:
    yield IMAGES
    runs = [one for one in _figures(parts, "inception") if "features not kept" in one["work"]]
    kept = [one for one in _figures(parts, "inception") if "features kept" in one["work"]]
    if runs and kept:
        seconds = (min(runs[0]["ours"]) - min(kept[0]["ours"])) / 1283
        hours = seconds * IMAGENET / 3600
        size = IMAGENET * FEATURES * 4 / 1e9
        yield f"`horses-inception`: {1000 * seconds:.0f} ms an image here, once, decoding included. For ImageNet's"
        yield f"{IMAGENET:,} images that is {IMAGENET:,} × {1000 * seconds:.0f} ms = {hours:.1f} hours on these two"
        yield f"cores, and {IMAGENET:,} × {FEATURES:,} × 4 bytes = {size:.1f} GB of features, which are held in"
        yield "memory while the head is trained. R ranks take an R-th of the time each.\n"


def _machines(parts: Figures) -> Iterator[str]:
    days = sorted({part["day"] for part in parts.values()})
    one = next(iter(parts.values()), None)
    if one:
        native = "with" if one["bfloat16"] else "without"
        yield f"\n---\n\nMeasured {', '.join(days)}: {one['cores']} cores {native} native bfloat16,"
        yield f"Python {one['python']}, PyTorch {one['torch']}, by `python tests/benchmarks/speed.py`.\n"


PERFORMANCE = """# Performance

How fast the zoo is beside the loop that one would write from the source document: a DataLoader, PIL transforms,
float32, and training and validation images evaluated after every epoch. Both sides run alternately, on the same images
and recipe; the ratio is that of their medians, and *least – most* the smallest and the largest ratio of any two of
their times. An absolute time says little on a shared machine.

## What is done

- **Arithmetic.** Where the processor multiplies in bfloat16, convolutions and matrix products do; weights, gradients,
  the optimizer and the loss stay in float32. Images lie in memory with their channels last. `--precision float32` is
  the plain path: PyTorch's defaults, always.
- **The optimizer** takes its step in one fused pass over the parameters.
- **Pooling before rectifying**, where a model does it the other way round: the same bits, a quarter of the work.
- **Freed memory is kept** for the next step, where glibc would return it to the system and have it cleared again.
- **Decoded images are held** in memory when they fit; otherwise they are streamed through worker processes.
- **A frozen backbone** sees each image once, its BatchNorm folded into its convolutions; the features are kept.
- **Prediction and extraction** decode ahead in threads while the network computes.
- **Commands load what they use**: `zoo list` imports neither torch nor Rich.
"""

NOTES = """\
For `horses-inception` both sides are whole processes, imports included. For the other two they are epochs: training,
then the evaluations, of which ours has one more for `horses-cnn`: the clean validation images."""

SIXTEEN = """\
tests/whole holds five seeds in bfloat16 against five on the plain path, for all three models: accuracies, or the loss
where accuracy differs more between two seeds than it tells."""

GPU = """\
Under CUDA the same paths run with bfloat16 autocast and fused optimizers, and each rank takes a GPU of its own. No GPU
was at hand when these figures were measured: everything on one is unmeasured."""

SCALING = """# Growth

How time and memory grow with images, classes, parameters and machines: measured as far as two cores reach, and beyond
that by the arithmetic that is given.
"""

IMAGES = """\
Time is proportional to images, everywhere. Memory is not: a split is held decoded if it takes at most an eighth of the
memory there is (size² × channels bytes an image), and is streamed otherwise, with a few batches under way. What
remains is the list of paths, labels and predictions: some 300 bytes an image. [Performance](performance.md) has the
peaks for 10,000 and 100,000 images.
"""

RANKS = """\
`torchrun --nproc-per-node N -m zoo_core run RECIPE`, and with its `--nnodes` and `--rdzv-endpoint` over several
machines: nothing of ours is needed beside it. Every step, each rank takes its share of the recipe's batch, and
gradients are averaged: the loss curve is that of one process, and no more ranks than images in a batch have work.
Evaluation, prediction and features are shared out by the image.

A step exchanges every trained parameter's gradient: 4 bytes × parameters sent and received by each rank, whatever their
number (ring all-reduce). `horses-cnn` exchanges 42.6 MB a step: at 10 Gbit/s that is 34 ms, more than the step itself
on two cores, so its batch of 8 does not pay over such a network; `horses-inception` trains 2.1 million: 8.4 MB, 7 ms.
Features are exchanged once: 8 kB an image. Memory: each rank holds the model, the optimizer's state, and the decoded
images if they fit its part of the machine's memory.

BatchNorm in training mode takes its statistics from each rank's own share, as PyTorch does; of the packaged recipes
only `horses-inception-as-printed` trains through BatchNorm.
"""
