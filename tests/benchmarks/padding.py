"""Objects at an end of 3:1 pictures, with `resize=pad` and `resize=crop`: prints the audit's note and a table.

    python tests/benchmarks/padding.py FOLDER

FOLDER is a set of photographs: class folders, also below train/ and val/. The pictures are made up: each photograph,
scaled to the height, stands at the left or right end of a canvas of noise that is three times as wide as it is high.
The seed draws the side and the noise, and with them how the images are split.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import zoo_core as zoo

HEIGHT, SHARE = 224, 3  # pixels; width as a multiple of the height
SUFFIXES = (".jpg", ".jpeg", ".png")


def make(folder: Path, target: Path, seed: int) -> int:
    """Save a made-up picture for each photograph, in class folders; return their number."""
    draw = np.random.default_rng(seed)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for number, path in enumerate(files):
        noise = draw.integers(0, 256, (HEIGHT // 8, SHARE * HEIGHT // 8, 3), np.uint8)
        canvas = Image.fromarray(noise).resize((SHARE * HEIGHT, HEIGHT), Image.Resampling.BICUBIC)
        with Image.open(path) as photo:
            width = min(HEIGHT, round(photo.width * HEIGHT / photo.height))
            canvas.paste(photo.convert("RGB").resize((width, HEIGHT)), (int(draw.choice([0, canvas.width - width])), 0))
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        canvas.save(target / path.parent.name / f"{number}.png")
    return len(files)


def main() -> None:
    """Print the note, and a row for each way to make images square."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"crop": [], "pad": []}
    notes: dict[str, None] = {}  # each once

    def note(event: zoo.Event) -> None:
        if isinstance(event, zoo.AuditNote) and "resize=pad" in event.what:
            notes[event.what] = None

    for seed in range(options.seeds):
        with TemporaryDirectory() as scratch:
            data = Path(scratch, options.folder.name)
            count = make(options.folder, data, seed)
            for resize, accuracies in found.items():
                overrides = {"model": options.model, "resize": resize}
                result = zoo.run(
                    "transfer", data=data, seed=seed, overrides=overrides, out=Path(scratch, "runs"), on_event=note
                )
                accuracies.append(result.metrics["validation_accuracy"])
                print(f"seed {seed}, {resize}: {accuracies[-1]:.2%}", flush=True)
    print("\n".join(f"note: {what}" for what in notes))
    print(f"\n{count} pictures of {SHARE * HEIGHT} × {HEIGHT} pixels, a fifth of them for validation\n")
    print("| resize | validation accuracy |\n|---|---|")
    for resize, accuracies in found.items():
        print(f"| {resize} | {mean(accuracies):.2%} ± {stdev(accuracies):.2%} |")


if __name__ == "__main__":
    main()
