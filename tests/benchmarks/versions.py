"""Two installed versions of zoo, alternately, on the same work: is the second slower than the first?

    python tests/benchmarks/versions.py OLD_VENV/bin/zoo NEW_VENV/bin/zoo [--pairs 3] [WORK ...]

Prints the median of each side, the ratio new / old with the smallest and largest ratio of any two of their times, and
the peak memory of each. A published ratio still holds where the new side takes no longer than the old one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
WORK: Mapping[str, Sequence[str]] = {
    "list": ("list",),
    "fashion-cnn": ("run", "fashion-cnn", "--epochs", "1"),
    "horses-cnn": ("run", "horses-cnn", "--epochs", "1"),
    "horses-inception, features cached": ("run", "horses-inception"),
    "horses-inception, features not cached": ("run", "horses-inception"),
    "predict one image": ("predict", "horses-inception", "IMAGE"),
    "predict 256 images": ("predict", "horses-inception", "FOLDER"),
    "eval fashion-cnn": ("eval", "fashion-cnn"),
}


def main() -> None:
    """Measure the given work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("work", nargs="*", choices=[[], *WORK], default=list(WORK))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--images", type=Path, help="a folder of images for predict")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(path.absolute(), Path(folder) / name) for name, path in (("old", given.old), ("new", given.new))]
        print(f"{'work':40} {'old':>8} {'new':>8}  new/old  least - most    peak old    new")
        for work in given.work or WORK:
            if ("IMAGE" not in WORK[work] and "FOLDER" not in WORK[work]) or given.images:
                print(row(work, sides, given.pairs, given.images), flush=True)


class Side:
    """One version, with its own cache and folder of runs."""

    def __init__(self, zoo: Path, folder: Path) -> None:
        self.zoo, self.folder = zoo, folder
        folder.mkdir()

    def measure(self, work: str, images: Path | None) -> tuple[float, int]:
        """Return the seconds and the peak memory, in bytes, of one process."""
        command = [str(self.zoo), *_filled(WORK[work], images)]
        if "not cached" in work:
            subprocess.run(
                [str(self.zoo), "cache", "rm", "features"], env=self._variables(), capture_output=True, check=False
            )
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *command],
            env=self._variables(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return time.perf_counter() - started, int(done.stdout) * 1024

    def _variables(self) -> dict[str, str]:
        return {**os.environ, "ZOO_CACHE": str(self.folder / "cache"), "ZOO_CONFIG": str(self.folder / "config")}


def _filled(command: Sequence[str], images: Path | None) -> Iterator[str]:
    for argument in command:
        if images is not None and argument == "IMAGE":
            yield str(next(path for path in sorted(images.rglob("*")) if path.is_file()).absolute())
        else:
            yield str(images.absolute()) if images is not None and argument == "FOLDER" else argument


def row(work: str, sides: Sequence[Side], pairs: int, images: Path | None) -> str:
    """Warm both sides up once, then measure them in turn."""
    for side in sides:
        side.measure(work, images)
    measured = [[side.measure(work, images) for side in sides] for _ in range(pairs)]
    (old, new), peaks = (
        [[pair[side][0] for pair in measured] for side in (0, 1)],
        [max(pair[side][1] for pair in measured) / 1e9 for side in (0, 1)],
    )
    ratios = sorted(b / a for a in old for b in new)
    spread = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
    seconds = f"{median(old):7.2f}s {median(new):7.2f}s"
    return f"{work:40} {seconds}  {median(new) / median(old):7.2f}  {spread:14} {peaks[0]:5.2f} GB {peaks[1]:5.2f} GB"


if __name__ == "__main__":
    main()
