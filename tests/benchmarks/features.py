"""Training a head on features that are on disk: peak memory and seconds, by the number of rows; prints a table.

    python tests/benchmarks/features.py FOLDER --rows 1000000,10000000

The rows are made up, 64 features each by default, in shards below FOLDER, which are deleted afterwards. Every size
runs in a separate process, which holds the labels and an epoch's order in memory: 16 bytes for each row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from zoo_core import ArrayImages, Job, Progress, Store, load_registry
from zoo_core.engine.models.weights import save_tensors
from zoo_core.engine.training.feature_shards import NAME, SHARD_ROWS, FeatureShards
from zoo_core.engine.training.features import Features
from zoo_core.engine.training.streamed_head import EPOCHS, fit_streamed
from zoo_core.registry.builtin import LogisticHeadSettings

CLASSES = 10


def made_up(folder: Path, count: int, width: int) -> Features:
    """Write rows around ten centers, a shard at a time."""
    generator = torch.Generator().manual_seed(0)
    centers, parts = torch.randn(CLASSES, width, generator=generator), []
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    for number, part in enumerate(torch.split(labels, SHARD_ROWS)):
        rows = centers[part] + 3 * torch.randn(len(part), width, generator=generator)
        parts.append(folder / f"{number}.safetensors")
        parts[-1].write_bytes(save_tensors({NAME: rows}))
    return Features(FeatureShards.of(parts), labels, ())


def measure(folder: Path, count: int, width: int) -> dict[str, float]:
    """Fit a head, and return seconds and bytes."""
    features = made_up(folder, count, width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    images = ArrayImages(np.zeros((1, 1, 1), np.uint8), np.zeros(1, np.int64), tuple(map(str, range(CLASSES))))
    plan = load_registry().plan("transfer").model_copy(update={"classes": images.classes})
    job = Job(torch.nn.Identity(), images, None, plan, Store.default(), torch.device("cpu"))
    steps, started, ends = fit_streamed(features, job, LogisticHeadSettings(), None), time.perf_counter(), []
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            fitted = stop.value
            break
        if isinstance(event, Progress) and event.done == event.total:
            ends.append(time.perf_counter())
    return {
        "rows": count,
        "features": width,
        "bytes": 4 * count * width,
        "epoch_seconds": (ends[-1] - ends[0]) / (EPOCHS - 1),
        "seconds": time.perf_counter() - started,
        "peak_before": before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "held_out_accuracy": fitted.cross_validation_accuracy,
    }


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="1000000,10000000")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--alone", action="store_true", help="measure one size in this process, and print JSON")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.folder, int(options.rows), options.width)))
        return
    print(
        "| rows | on disk | peak memory | s an epoch | s in all | held-out accuracy |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for rows in options.rows.split(","):
        with TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, __file__, folder, "--rows", rows, "--width", str(options.width), "--alone"]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"| {found['rows']:,} | {found['bytes'] / 1e6:,.0f} MB | {found['peak'] / 1e6:,.0f} MB "
            f"| {found['epoch_seconds']:.1f} | {found['seconds']:.1f} | {found['held_out_accuracy']:.2%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
