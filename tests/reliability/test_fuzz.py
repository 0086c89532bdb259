"""Thousands of mutated inputs: each gives a value or a ZooError, never a traceback, a crash or a hang."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import ROOT
from tests.reliability.ledger import FULL, Ledger, size
from tests.reliability.strategies import SEEDS, case, target_of

pytestmark = pytest.mark.slow

MEMORY_DISK = Path("/dev/shm")  # if available: fsync is free there
BATCH = 20_000  # cases per process
PER_CASE = 0.05  # seconds per case after which a batch counts as a hang: ten times what the slowest kind takes
WORKERS = (os.cpu_count() or 1) if FULL else 1


@dataclass
class Batch:
    """The results of one process."""

    tried: int = 0
    refused: int = 0
    found: int = 0
    crashes: int = 0
    hangs: int = 0
    findings: list[str] = field(default_factory=list)


def batch(kind: str, first: int, count: int, folder: Path) -> Batch:
    """Try some cases in a separate process; crashes and hangs are reported with the number of their case."""
    progress = folder / f"{first}"
    command = [sys.executable, "-W", "ignore", "-m", "tests.reliability.strategies", kind, str(first), str(count)]
    timeout = 60 + count * PER_CASE
    try:
        done = subprocess.run(
            [*command, str(progress)], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return Batch(count, hangs=1, findings=[f"case {_number(progress)} timed out"])
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        return Batch(count, crashes=1, findings=[f"case {_number(progress)}: exit code {done.returncode}", *last])
    result = json.loads(done.stdout)
    return Batch(result["tried"], result["refused"], result["found"], 0, result["hangs"], result["findings"])


def _number(progress: Path) -> int:
    (number,) = struct.unpack("<Q", progress.read_bytes())
    return int(number)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if not MEMORY_DISK.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY_DISK) as folder:
        yield Path(folder)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("kind", "full"),
    [("images", 1_000_000), ("registry files", 200_000), ("zips", 200_000), ("safetensors", 200_000)],
)
def test_a_mutated_input_gives_a_value_or_a_zoo_error(kind: str, full: int, disk: Path, ledger: Ledger) -> None:
    wanted = size(5_000, full)
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        done = list(
            pool.map(lambda first: batch(kind, first, min(BATCH, wanted - first), disk), range(0, wanted, BATCH))
        )
    tried, seconds = sum(result.tried for result in done), time.perf_counter() - began
    ledger.record(
        f"mutated {kind}",
        tried=tried,
        refused=sum(result.refused for result in done),
        crashes=sum(result.crashes for result in done),
        hangs=sum(result.hangs for result in done),
        tracebacks=sum(result.found for result in done),
        per_second=round(tried / seconds),
    )
    assert [finding for result in done for finding in result.findings] == []
    assert sum(result.crashes + result.hangs + result.found for result in done) == 0
    assert 0 < sum(result.refused for result in done) < tried  # some must be accepted, or nothing was tested


@pytest.mark.parametrize("kind", SEEDS)
def test_the_inputs_are_valid_before_mutation(kind: str, tmp_path: Path) -> None:
    attempt = target_of(kind, tmp_path)
    hostile = (1, 2, 3) if kind == "zips" else ()
    for number, content in enumerate(SEEDS[kind]()):
        if number not in hostile:
            attempt(content)


@pytest.mark.parametrize("kind", SEEDS)
def test_a_case_is_reproducible_from_its_number(kind: str) -> None:
    command = [sys.executable, "-m", "tests.reliability.strategies", kind, "7"]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    assert again == case(kind, 7)
    assert len({case(kind, number) for number in range(200)}) > 150
