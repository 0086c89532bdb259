"""Compare this plugin's features with those of the graph in Google's file, on the validation images.

    python scripts/compare_with_graph.py [--images 256]

The graph is TorchScript: code from elsewhere, so it runs in a separate process. The file's SHA-256 is verified first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo_core as zoo
from zoo_core.store.sources import opened

MODEL, BATCH = "horses-inception", 16
GRAPH = """
import sys, warnings
import torch
from safetensors.torch import load_file, save_file
warnings.simplefilter("ignore")  # TorchScript is deprecated
graph = torch.jit.load(sys.argv[1], map_location="cpu").eval()
with torch.inference_mode():
    rows = [graph(images) for images in load_file(sys.argv[2])["images"].split(int(sys.argv[4]))]
save_file({"features": torch.cat(rows)}, sys.argv[3])
"""


def main() -> None:
    """Print, for both poolings, the largest difference of a feature and the norm of all differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256, help="how many of the 256 validation images")
    wanted = parser.parse_args().images
    images = torch.stack(list(pictures(wanted)))
    expected = graph_features(images)
    print(f"{len(images)} images, {expected.shape[1]:,} features, the largest {expected.max():.2f}")
    for weights in zoo.load_registry().model(MODEL).weights:
        if weights.covers == "backbone":
            difference = features(weights.name, images) - expected
            relative = (difference.norm() / expected.norm()).item()
            print(f"{weights.name:16} largest difference {difference.abs().max():.2g}, relative norm {relative:.2g}")


def pictures(number: int) -> Iterator[Tensor]:
    """Yield preprocessed validation images, evenly spaced: horses first, then humans."""
    images = zoo.load_dataset("horses-or-humans", "validation", edition="compact")
    transform = zoo.transforms(MODEL)
    for index in torch.linspace(0, len(images) - 1, min(number, len(images))).long().tolist():
        yield transform(images[index][0])


def features(weights: str, images: Tensor) -> Tensor:
    """Return (N, 2048) float32 with this plugin's network."""
    network = zoo.create_model(MODEL, weights=weights, num_classes=0)
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(BATCH)])


def graph_features(images: Tensor) -> Tensor:
    """Return (N, 2048) float32, computed by the TorchScript graph in another process."""
    (source,) = zoo.load_registry().model(MODEL).weights[0].file.sources
    with (
        TemporaryDirectory() as folder,
        opened(source, Path(folder), lambda *_: None, zoo.Store.default().retry) as file,
    ):
        given, computed = Path(folder, "images"), Path(folder, "features")
        save_file({"images": images}, given)
        subprocess.run([sys.executable, "-c", GRAPH, file, given, computed, str(BATCH)], check=True)
        return load_file(computed)["features"]


if __name__ == "__main__":
    main()
