"""What 8-bit integers cost and save, for a few models beside PyTorch in one process: prints a table for each.

    python tests/benchmarks/eight_bits.py FOLDER --sets flowers,trash

Every subfolder of FOLDER is a set with class folders: the recipe transfer is trained on each, and its run is exported.
The models are measured on the images that their cards name, the others on those of the first set, without labels.
A model that 8 bits make worse is refused, as `zoo export --int8` does; the reason is printed in place of the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import zoo_core as zoo
from zoo_core.cli.parity_table import print_parity


def measure(target: str | Path, scratch: Path, name: str, data: Path | None, max_drop: float) -> None:
    """Export in 8 bits, and print how that compares, or why it is refused."""
    print(f"\n## {name}\n", flush=True)
    try:
        result = zoo.export(target, scratch / f"{name.replace('/', '-')}.onnx", int8=True, data=data, max_drop=max_drop)
    except zoo.CheckFailed as refused:
        print(refused.why, flush=True)
        return
    assert result.parity is not None
    print_parity(result.parity)
    own, chosen = result.parity.ways[1], result.parity.ways[-1]
    ratios = ", ".join(f"{own.milliseconds[n] / ms:.2f} for {n}" for n, ms in chosen.milliseconds.items())
    print(f"\ntimes as fast as zoo by default: {ratios}", flush=True)


def main() -> None:
    """Measure the models, then a run on each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="flowers,trash")
    parser.add_argument("--models", default="horses-inception,efficientnet-lite0")
    parser.add_argument("--max-drop", type=float, default=0.5)
    options = parser.parse_args()
    sets = [options.folder / name for name in options.sets.split(",")]
    registry = zoo.load_registry()
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in filter(None, options.models.split(",")):
            measured = any(weights.reported for weights in registry.model(name).weights)
            measure(name, scratch, name, None if measured else sets[0], options.max_drop)
        for path in sets:
            run = zoo.run("transfer", data=path, out=scratch / "runs", progress=False)
            measure(run.directory, scratch, f"transfer-{path.name}", None, options.max_drop)


if __name__ == "__main__":
    main()
