"""How runs and commands handle signals, closed streams and full disks, and their exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import zoo_programs

from tests.reliability.forked import child, finished
from zoo_core.runs.directory import RunDir

MANY = ("run", "fashion-cnn", "--epochs", "50", "--device", "cpu")


class Run:
    """A run of real training in a separate process."""

    def __init__(self, root: Path, *arguments: str, **variables: str) -> None:
        self.out, self.log = root / "runs", root / "log"
        given = [*MANY, "--out", str(self.out), *arguments]
        environment = {"OMP_NUM_THREADS": "1", "ZOO_CACHE": str(root / "cache"), **variables}
        self.process: ForkServerProcess = child(zoo_programs.zoo, given, environment, str(self.log))

    @property
    def directory(self) -> RunDir:
        (found,) = (path.parent for path in self.out.glob("*/2*/plan.json"))
        return RunDir(found)

    def wait_for(self, pattern: str) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.exitcode is None:
            if list(self.out.glob(pattern)):
                return
            time.sleep(0.02)
        raise AssertionError(f"there is no {pattern}: {self.log.read_text()}")

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


@pytest.mark.parametrize(
    ("number", "code", "why"),
    [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 129, "SIGHUP")],
)
def test_the_first_signal_saves_a_checkpoint(tmp_path: Path, number: int, code: int, why: str) -> None:
    run = Run(tmp_path, "--checkpoint-every", "0.1")
    run.wait_for("*/2*/checkpoints/0*")
    run.send(number)
    assert finished(run.process, within=20) == code
    assert run.directory.read_json("result.json")["reason"] == why
    checkpoint, damaged = run.directory.checkpoints.newest()
    assert checkpoint is not None
    assert damaged == ()
    assert f"Try: zoo run --resume {run.directory.path}" in run.log.read_text()


def test_the_first_signal_saves_even_if_no_checkpoint_is_due(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.wait_for("*/2*/result.json")
    time.sleep(1)
    run.send(signal.SIGINT)
    assert finished(run.process, within=20) == 130
    assert len(run.directory.checkpoints.names()) == 1


def test_the_second_signal_ends_at_once_without_losing_checkpoints(tmp_path: Path) -> None:
    run = Run(tmp_path, "--checkpoint-every", "0.1")
    run.wait_for("*/2*/checkpoints/0*")
    run.send(signal.SIGINT)
    run.send(signal.SIGINT)
    assert finished(run.process, within=20) == 130
    checkpoint, damaged = run.directory.checkpoints.newest()
    assert checkpoint is not None
    assert damaged == ()


def test_a_running_run_is_not_resumed(tmp_path: Path) -> None:
    run = Run(tmp_path, "--checkpoint-every", "0.1")
    run.wait_for("*/2*/checkpoints/0*")
    log = tmp_path / "second"
    arguments = ["run", "--resume", str(run.directory.path)]
    second = child(zoo_programs.zoo, arguments, {"ZOO_CACHE": str(tmp_path / "cache")}, str(log))
    assert finished(second, within=60) == 2
    assert re.search(rf"is already running\nprocess {run.process.pid} on .+ is training it", log.read_text())
    run.process.kill()
    finished(run.process, within=20)


@pytest.mark.parametrize("error", ["ENOSPC", "EROFS"])
def test_a_full_disk_ends_a_run_with_6_and_it_can_resume(tmp_path: Path, error: str) -> None:
    run = Run(tmp_path, "--checkpoint-every", "0", ZOO_FAILPOINT=f"files.sync:30:{error}")
    assert finished(run.process, within=60) == 6
    said = run.log.read_text()
    assert "was not written" in said or "cannot be written" in said
    assert f"Try: zoo run --resume {run.directory.path}" in said
    assert run.directory.status == "failed"
    checkpoint, damaged = run.directory.checkpoints.newest()
    assert checkpoint is not None
    assert damaged == ()


def test_out_of_memory_suggests_a_smaller_batch(tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["run", "fashion-cnn", "--batch-size", "6000", "--device", "cpu", "--out", str(tmp_path / "runs")]
    variables = {"OMP_NUM_THREADS": "1", "ZOO_CACHE": str(tmp_path / "cache")}
    process = child(zoo_programs.small, arguments, variables, 1_500_000_000, str(log))
    assert finished(process, within=60) == 6, log.read_text()
    assert "Error: there is not enough memory for batches of 6000" in log.read_text()
    assert "Try: zoo run fashion-cnn --batch-size 3000" in log.read_text()


def zoo(*arguments: str, shell: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, with redirections."""
    typed = " ".join([sys.executable, "-m", "zoo_core", *arguments, shell])
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", typed], env=environment, capture_output=True, text=True, check=False, errors="replace"
    )


def test_a_broken_pipe_is_not_an_error_of_zoo() -> None:
    done = zoo("list", "--json", shell="| head -n 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (141, "{\n", "")


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("show", "fashion-cnn")])
def test_unwritable_output_is_reported(arguments: tuple[str, ...]) -> None:
    done = zoo(*arguments, shell="> /dev/full")
    assert done.returncode == 6
    assert done.stderr.startswith("Error: the output cannot be read or written\nNo space left on device\n")
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_do_not_stop_a_command(closed: str) -> None:
    assert zoo("list", shell=closed).returncode == 0
    assert zoo("show", "nothing-of-this-name", shell=closed).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_limited_encoding_does_not_stop_a_command(encoding: str) -> None:
    done = zoo("show", "fashion-cnn", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "28" in done.stdout


def test_a_terminal_of_20_columns_still_shows_names() -> None:
    done = subprocess.run(
        ["script", "-qec", f"{sys.executable} -m zoo_core list", "/dev/null"],
        env={**os.environ, "COLUMNS": "20", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "fashion-cnn" in done.stdout


def test_training_continues_when_its_log_is_closed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "zoo_core", "run", "fashion-cnn", "--epochs", "1", "--out", str(tmp_path)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(120) == 141  # the table at its end could not be printed
    (run,) = (RunDir(path.parent) for path in tmp_path.glob("*/2*/plan.json"))
    assert run.status == "finished"
