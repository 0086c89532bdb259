"""One image in a process of its own, with each model in turn: prints a table of seconds.

    python tests/benchmarks/cold_predict.py IMAGE
    python tests/benchmarks/cold_predict.py IMAGE --models efficientnet-lite2,horses-inception --rounds 5

The weights are pulled first. Wall time grows on a busy machine; the seconds of the processor grow less.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""


def measure(command: list[str]) -> tuple[float, float, float]:
    """Return wall seconds, processor seconds (user and system), and peak memory in MB."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, check=True)
    seconds, kilobytes = map(float, done.stdout.split())
    return time.perf_counter() - started, seconds, kilobytes * 1024 / 1e6


def main() -> None:
    """Warm up, then measure the models in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--models", default="efficientnet-lite2,horses-inception")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    commands = {
        m: [sys.executable, "-m", "zoo_core", "predict", m, str(options.image)] for m in options.models.split(",")
    }
    for command in commands.values():
        measure(command)
    rounds = [{model: measure(command) for model, command in commands.items()} for _ in range(options.rounds)]
    print("| model | wall, median | least - most | user + system, median | least - most | peak memory |")
    print("|---|---|---|---|---|---|")
    for model in commands:
        walls, processors, peaks = (sorted(each[model][column] for each in rounds) for column in range(3))
        print(
            f"| {model} | {median(walls):.2f} s | {walls[0]:.2f} - {walls[-1]:.2f} "
            f"| {median(processors):.2f} s | {processors[0]:.2f} - {processors[-1]:.2f} | {peaks[-1]:,.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
