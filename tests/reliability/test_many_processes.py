"""Many processes fetch a file at once and half of them are killed, with locks and with locks that do nothing."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.reliability.children import Children, children
from tests.reliability.fault_server import HONEST, Answer, FaultServer, serving
from tests.reliability.ledger import SEED, Ledger, size
from zoo_core import File, Source, Store

pytestmark = pytest.mark.slow

CONTENT = random.Random(SEED).randbytes(400_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
SLOW = Answer(pace=0.02)  # a transfer takes half a second
MOMENTS = 0.4  # seconds, within which the kills come
PROCESSES, ROUNDS = size(8, 64), size(2, 10)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving(CONTENT) as server:
        server.plays(SLOW)
        yield server


@pytest.fixture
def file(server: FaultServer) -> File:
    source = Source(uri=f"{server.url}/x", size=len(CONTENT), sha256=SHA)
    return File(sources=(source,), size=len(CONTENT), sha256=SHA)


class Round:
    """Processes that are started together, half of which are killed at random moments."""

    def __init__(self, forked: Children, file: File, root: Path, draw: random.Random) -> None:
        self.file, self.path, self.torn, self.ends = file, root / "files" / SHA, 0, dict[int, int]()
        go = root.with_suffix(".go")
        arguments = {"root": str(root), "file": file.model_dump(), "after": str(go)}
        started = [forked.start("fetch", **arguments) for _ in range(PROCESSES)]
        kills = sorted((draw.uniform(0, MOMENTS), process) for process in draw.sample(started, PROCESSES // 2))
        go.touch()
        began = time.monotonic()
        for moment, process in kills:
            while time.monotonic() - began < moment:
                self.look()
                time.sleep(0.005)
            os.kill(process, signal.SIGKILL)  # our own child, which nobody has waited for yet
        self.ends = {process: forked.wait(process) for process in started}
        self.look()
        self.killed = sum(code == -signal.SIGKILL for code in self.ends.values())

    def look(self) -> None:
        """Count it if the file exists and is not complete."""
        self.torn += self.path.exists() and self.path.read_bytes() != CONTENT

    @property
    def wrong(self) -> int:
        return sum(code not in (0, -signal.SIGKILL) for code in self.ends.values())


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "locks that do nothing"])
def test_survivors_get_the_right_bytes_while_others_are_killed(
    locks: bool, server: FaultServer, file: File, tmp_path: Path, ledger: Ledger
) -> None:
    draw, rounds, transfers = random.Random(SEED), [], []
    with children(tmp_path / "said", locks=locks) as forked:
        for number in range(ROUNDS):
            server.plays(SLOW)
            rounds.append(Round(forked, file, tmp_path / str(number), draw))
            transfers.append(server.answered)
            assert Store(tmp_path / str(number)).fetch(file, "x").read_bytes() == CONTENT
        said = forked.heard()
    counts = {"tried": PROCESSES * ROUNDS, "killed": sum(each.killed for each in rounds), "transfers": sum(transfers)}
    torn, wrong = sum(each.torn for each in rounds), sum(each.wrong for each in rounds)
    ledger.record(
        f"processes on one file, {'locks work' if locks else 'locks do nothing'}", **counts, torn=torn, wrong=wrong
    )
    assert counts["killed"] > 0
    assert torn == wrong == 0, said
    if locks:
        assert all(count <= each.killed + 1 for count, each in zip(transfers, rounds, strict=True))


def test_a_success_cleans_up_after_killed_processes(server: FaultServer, file: File, tmp_path: Path) -> None:
    scratch = tmp_path / "store" / "scratch"
    with children(tmp_path / "said") as forked:
        for number in (1, 2, 3):
            process = forked.start("fetch", root=str(tmp_path / "store"), file=file.model_dump())
            while longest_in(scratch) < number * 50_000:
                time.sleep(0.005)
            os.kill(process, signal.SIGKILL)
            assert forked.wait(process) == -signal.SIGKILL
    left = longest_in(scratch)
    server.plays(HONEST)
    Store(tmp_path / "store").fetch(file, "x")
    assert [request.sent for request in server.asked] == [len(CONTENT) - left]
    assert list(scratch.iterdir()) == []


def longest_in(folder: Path) -> int:
    try:
        return max((path.stat().st_size for path in folder.glob(".*")), default=0)
    except FileNotFoundError:  # it was renamed just now
        return 0


def test_a_hung_lock_holder_is_reported_and_not_waited_for_forever(
    server: FaultServer, file: File, tmp_path: Path
) -> None:
    server.plays(HONEST)
    store = tmp_path / "store"
    (store / "locks").mkdir(parents=True)
    with children(tmp_path / "said") as forked:
        holder = forked.start("hold", path=str(store / "locks" / SHA))
        time.sleep(0.2)
        os.kill(holder, signal.SIGSTOP)
        retry = {"silence": 0.05, "lock": 0.2}
        code = forked.run("fetch", root=str(store), file=file.model_dump(), retry=retry)
        os.kill(holder, signal.SIGKILL)
        forked.wait(holder)
        assert code == 0
        assert "x is being fetched by another process; waiting for it" in forked.heard()


def test_nobody_waits_where_locks_do_nothing(server: FaultServer, file: File, tmp_path: Path) -> None:
    server.plays(HONEST)
    store = tmp_path / "store"
    (store / "locks").mkdir(parents=True)
    with children(tmp_path / "said", locks=False) as forked:
        holder = forked.start("hold", path=str(store / "locks" / SHA))
        time.sleep(0.2)
        assert forked.run("fetch", root=str(store), file=file.model_dump(), retry={"silence": 0.05}) == 0
        os.kill(holder, signal.SIGKILL)
        forked.wait(holder)
        assert forked.heard() == ""


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A path for a store that will be read-only, in a folder that other users can reach."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder, "store")
        for path in Path(folder).rglob("*"):
            path.chmod(0o755)


def test_a_read_only_cache_is_used_and_a_missing_file_explained(
    server: FaultServer, file: File, read_only: Path
) -> None:
    server.plays(HONEST)
    Store(read_only).fetch(file, "x")
    for path in [*read_only.rglob("*"), read_only]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    other = File(sources=file.sources, size=1, sha256="0" * 64)
    nobody = 65534 if os.geteuid() == 0 else None  # root may write everywhere
    with children(read_only.parent / "said") as forked:
        assert forked.run("fetch", user=nobody, root=str(read_only), file=file.model_dump()) == 0
        code = forked.run("fetch", user=nobody, root=str(read_only), file=other.model_dump())
        assert code == 6, forked.heard()
        assert "ZOO_CACHE moves it to another folder" in forked.heard()
