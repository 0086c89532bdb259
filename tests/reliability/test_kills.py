"""Training is killed at every write and at random moments: no acknowledged checkpoint is lost."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
import zoo_programs

from tests.reliability.forked import KILLED, child, finished
from tests.reliability.ledger import FULL, SEED, Ledger, size
from zoo_core.runs.checkpoints import Checkpoints, LoadedCheckpoint
from zoo_core.runs.directory import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(size(600, 7200))]

SHARED_MEMORY = Path("/dev/shm")
RECIPE = ("run", "fashion-cnn", "--epochs", "1", "--device", "cpu", "--resume", "auto")
THREADS = {"OMP_NUM_THREADS": "1"}
UNHARMED = {"ZOO_FAILPOINT": "none:1:kill"}
FILES = ("create", "write", "sync", "rename", "sync-folder")  # failpoints of every file that is written
FOLDERS = ("rename", "sync", "forget", "remove")


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on one file system, and for the full table one on another."""
    if request.param == "disk":
        yield tmp_path
        return
    if not FULL:
        pytest.skip("a second file system is part of the full column")
    if not SHARED_MEMORY.is_dir():
        pytest.skip("there is no file system in memory here")
    path = SHARED_MEMORY / tmp_path.name
    path.mkdir()
    yield path
    shutil.rmtree(path)


def acknowledged(log: Path) -> list[int]:
    lines = log.read_text().splitlines() if log.is_file() else []
    return [int(line.split()[1]) for line in lines if line.startswith("saved")]


def hit(log: Path) -> set[str]:
    lines = log.read_text().splitlines() if log.is_file() else []
    return {line.split()[1].rstrip(":") for line in lines if line.startswith("failpoint")}


def saving(folder: Path, log: Path, steps: list[int], *, failing: Mapping[str, str]) -> int:
    return finished(child(zoo_programs.save, str(folder), dict(failing), steps, str(log)), within=60)


def step_of(checkpoint: LoadedCheckpoint | None) -> int:
    return int(checkpoint.path.name.partition("-")[2]) if checkpoint else 0


def test_saving_survives_a_kill_at_every_failpoint(
    folder: Path, ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    """Four checkpoints in a row, so that old ones are removed: killed at the first write, at the second, and so on."""
    steps, seen = [1, 2, 3, 4], set()
    tried = lost = accepted = 0
    for number in count(1):
        checkpoints, log = folder / str(number), folder / f"{number}.log"
        code = saving(checkpoints, log, steps, failing={"ZOO_FAILPOINT": f"*:{number}:kill"})
        if code == 0:
            break
        assert code == KILLED
        tried, seen = tried + 1, seen | hit(log)
        checkpoint, damaged = Checkpoints(checkpoints).newest()
        lost += step_of(checkpoint) < max(acknowledged(log), default=0)
        accepted += bool(damaged) or (
            checkpoint is not None and dict(checkpoint.files) != zoo_programs.content(step_of(checkpoint))
        )
        assert saving(checkpoints, log, steps, failing=UNHARMED) == 0
        again, damaged = Checkpoints(checkpoints).newest()
        assert (step_of(again), damaged) == (4, ())
    where = request.node.callspec.id
    ledger.record(f"kill points of saving and rotation ({where})", tried=tried, lost=lost, damaged=accepted)
    assert (lost, accepted) == (0, 0)
    assert tried > 50
    assert seen == {f"files.{what}" for what in FILES} | {f"folder.{what}" for what in FOLDERS}


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES"])
def test_a_failing_disk_loses_nothing(tmp_path: Path, ledger: Ledger, error: str) -> None:
    tried = lost = 0
    for number in count(1, 5 if not FULL else 1):
        checkpoints, log = tmp_path / str(number), tmp_path / f"{number}.log"
        if saving(checkpoints, log, [1, 2, 3], failing={"ZOO_FAILPOINT": f"*:{number}:{error}"}) == 0:
            break
        tried += 1
        assert "ResourceError" in log.read_text()
        checkpoint, damaged = Checkpoints(checkpoints).newest()
        lost += step_of(checkpoint) < max(acknowledged(log), default=0) or bool(damaged)
    ledger.record(f"{error} while saving", tried=tried, lost=lost)
    assert lost == 0
    assert tried


def outcome(run: Path) -> dict[str, object]:
    """Return everything that must be bit-for-bit identical."""
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": sha256((run / "weights.safetensors").read_bytes()).hexdigest(),
        "metrics": [{name: value for name, value in line.items() if name != "seconds"} for line in metrics],
        "result": RunDir(run).read_json("result.json")["metrics"],
        "predictions": sha256((run / "test-predictions.csv").read_bytes()).hexdigest(),
    }


def newest(root: Path) -> tuple[RunDir | None, list[str]]:
    """Return the only run below a folder, and the names of its checkpoints."""
    runs = [RunDir(path.parent) for path in root.glob("*/*/plan.json") if not path.parent.is_symlink()]
    assert len(runs) <= 1, "a new run was started instead of resuming"
    return (runs[0], runs[0].checkpoints.names()) if runs else (None, [])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The outcome of an uninterrupted run."""
    root = tmp_path_factory.mktemp("straight")
    variables = {**THREADS, "ZOO_CACHE": str(root / "cache")}
    arguments = [*RECIPE, "--out", str(root / "runs")]
    assert finished(child(zoo_programs.zoo, arguments, variables, str(root / "log")), within=300) == 0
    run, _ = newest(root / "runs")
    assert run is not None
    return outcome(run.path)


class Victim:
    """A run of real training that is killed and resumed repeatedly."""

    def __init__(self, root: Path, *, every: float) -> None:
        root.mkdir(exist_ok=True)
        self.out, self.log = root / "runs", root / "log"
        self.arguments = [*RECIPE, "--out", str(self.out), "--checkpoint-every", str(every)]
        self.variables = {**THREADS, "ZOO_CACHE": str(root / "cache")}
        self.lost = self.damaged = 0

    def attempt(self, seconds: float, *, saves: int | None = None) -> bool:
        """Train, and kill the run after a number of seconds or checkpoints; return whether it was unfinished."""
        _, before = newest(self.out)
        process = child(zoo_programs.zoo, self.arguments, self.variables, str(self.log))
        end = time.monotonic() + seconds
        seen: set[str] = set(before)
        while time.monotonic() < end and process.exitcode is None:
            seen |= set(newest(self.out)[1])
            if saves is not None and len(seen - set(before)) >= saves:
                break
            time.sleep(0.01)
        was = newest(self.out)[1]  # they have their final names, so they are acknowledged
        process.kill()
        code, (run, _) = finished(process, within=60), newest(self.out)
        assert code in (0, KILLED), self.log.read_text()
        if run is None:
            return True
        if run.status == "finished":  # killed or not, only the report is missing
            return False
        checkpoint, damaged = run.checkpoints.newest()
        self.damaged += len(damaged)
        self.lost += (checkpoint.path.name if checkpoint else "") < max(was, default="")
        return True

    def outcome(self) -> dict[str, object]:
        run, _ = newest(self.out)
        assert run is not None
        assert run.status == "finished"
        return outcome(run.path)


def test_real_training_is_killed_at_random_moments(
    tmp_path: Path, ledger: Ledger, uninterrupted: dict[str, object]
) -> None:
    """Fashion-MNIST's shipped images, SIGKILL between start and end, resumed until finished; and again."""
    draw = random.Random(SEED)
    wanted, kills, runs, different, lost, damaged = size(10, 300), 0, 0, 0, 0, 0
    while kills < wanted:
        victim = Victim(tmp_path / str(runs), every=0.2)
        while victim.attempt(draw.uniform(0.3, 3.0) if kills < wanted else 300):
            kills += 1
        runs += 1
        different += victim.outcome() != uninterrupted
        lost, damaged = lost + victim.lost, damaged + victim.damaged
    ledger.record(
        "random kill -9 of a real training run",
        kills=kills,
        runs_finished=runs,
        acknowledged_checkpoints_lost=lost,
        damaged_checkpoints_seen=damaged,
        resumes_not_bit_identical=different,
    )
    assert (lost, damaged, different) == (0, 0, 0)


def test_repeated_kills_inside_one_epoch(tmp_path: Path, ledger: Ledger, uninterrupted: dict[str, object]) -> None:
    """Killed after each new checkpoint; the 94 steps of the epoch outlast all kills."""
    victim = Victim(tmp_path, every=0)
    in_a_row = size(5, 50)
    for _ in range(in_a_row):
        assert victim.attempt(60, saves=1), "it finished before it could be killed"
    run, names = newest(victim.out)
    assert run is not None
    assert all(name.startswith("000000-") for name in names), "all kills came in the first epoch"
    assert not victim.attempt(300)
    different = victim.outcome() != uninterrupted
    ledger.record(
        "kills in a row inside one epoch",
        kills=in_a_row,
        acknowledged_checkpoints_lost=victim.lost,
        damaged_checkpoints_seen=victim.damaged,
        resumes_not_bit_identical=int(different),
    )
    assert (victim.lost, victim.damaged, different) == (0, 0, False)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_run_survives_a_kill_at_every_failpoint(tmp_path: Path, ledger: Ledger, keep: str) -> None:
    """The pond run saves after every step: this covers every write of a run, from plan.json to the report."""
    best = {"epochs": 6, "keep": "best", "patience": 1}  # the third epoch is best, and the fourth is the last
    fields = best if keep == "best" else {}
    straight = tmp_path / "straight"
    variables = {**THREADS, "ZOO_CACHE": str(tmp_path / "cache"), **UNHARMED}
    assert finished(child(zoo_programs.pond, variables, str(straight), str(tmp_path / "log"), fields), within=120) == 0
    expected = outcome(next(path.parent for path in straight.glob("pond/2*/plan.json")))
    tried = different = 0
    seen: set[str] = set()
    for number in count(1, size(41, 1)):
        out, log = tmp_path / str(number), tmp_path / f"{number}.log"
        killing = {**variables, "ZOO_FAILPOINT": f"*:{number}:kill"}
        if finished(child(zoo_programs.pond, killing, str(out), str(log), fields), within=120) == 0:
            break
        tried, seen = tried + 1, seen | hit(log)
        assert finished(child(zoo_programs.pond, variables, str(out), str(log), fields), within=120) == 0, (
            log.read_text()
        )
        finished_runs = [
            path.parent for path in out.glob("pond/2*/plan.json") if RunDir(path.parent).status == "finished"
        ]
        assert finished_runs  # two, if the kill came after the end: then there was nothing to resume
        different += any(outcome(run) != expected for run in finished_runs)
        shutil.rmtree(out)
    what = "kill points of a whole run" + (" that keeps its best epoch" if fields else "")
    ledger.record(what, tried=tried, resumes_not_bit_identical=different)
    assert different == 0
    assert tried >= size(5, 100)
