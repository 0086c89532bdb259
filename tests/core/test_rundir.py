"""A run's directory: one process at a time, and files that can be missing, damaged or not ours to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from zoo_core import DataError, EpochResult, IntegrityError, Predictions, Registry, ResourceError, UsageError
from zoo_core.disk.atomic import append_line
from zoo_core.runs.directory import RunDir


@pytest.fixture
def run(pond: Registry, tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "runs", pond.plan("pond"), {})


def test_a_run_is_carried_out_by_one_process_at_a_time(run: RunDir) -> None:
    assert not run.is_running
    with FileLock(run.path / ".lock"):
        assert run.is_running
        with pytest.raises(UsageError, match=r"is under way\nprocess [0-9]+ on .+\nTry: wait"), run.locked():
            pass
    with run.locked():
        pass


def test_those_who_write_nothing_need_no_lock(run: RunDir) -> None:
    with FileLock(run.path / ".lock"), RunDir(run.path, writes=False).locked():
        pass


def test_those_who_write_nothing_write_nothing(run: RunDir) -> None:
    silent, before = RunDir(run.path, writes=False), sorted(run.path.iterdir())
    silent.record(EpochResult(1, 1, {"loss": 1.0}, 1.0))
    silent.mark_resumed("000000-000000001", b"{}", {})
    silent.write_result("finished")
    assert sorted(run.path.iterdir()) == before
    assert run.status == "running"


def test_a_killed_run_still_says_that_it_is_running_and_by_whom(run: RunDir) -> None:
    assert (run.status, run.read_json("result.json")["reason"].split()[0]) == ("running", "process")


def test_going_on_puts_the_metrics_back_and_is_noted(run: RunDir) -> None:
    for epoch in (1, 2):
        run.record(EpochResult(epoch, 2, {"loss": 1.0 / epoch}, 1.0))
    first = (run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0]
    run.mark_resumed("000001-000000007", first, {"threads": (1, 2)})
    assert [line["epoch"] for line in run.read_metrics()] == [1]
    assert (
        '"checkpoint": "000001-000000007", "changed": {"threads": [1, 2]}' in (run.path / "resumes.jsonl").read_text()
    )


def test_a_run_without_weights_says_so(run: RunDir) -> None:
    with pytest.raises(DataError, match="has no weights"):
        run.read_weights()


def test_a_file_that_cannot_be_read_is_named(run: RunDir) -> None:
    (run.path / "predictions.csv").mkdir()
    with pytest.raises(DataError, match=r"predictions\.csv cannot be read"):
        run.read_predictions()


def test_a_file_that_is_a_link_is_not_followed(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (run.path / "audit.json").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"audit\.json is a link"):
        run.read_json("audit.json")


@pytest.mark.parametrize("name", ["resumes.jsonl", "metrics.jsonl"])
def test_nothing_is_written_through_a_link(run: RunDir, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("theirs\n")
    (run.path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ResourceError):
        append_line(run.path / name, "ours")
    with pytest.raises(IntegrityError, match=f"{name} is a link"):
        run.refuse_links()
    assert (tmp_path / "outside").read_text() == "theirs\n"


def test_a_pipe_among_its_files_is_refused(run: RunDir) -> None:
    (run.path / "checkpoints").mkdir()
    os.mkfifo(run.path / "checkpoints" / "manifest.json")
    with pytest.raises(IntegrityError, match="is a link, a pipe or a device"):
        run.refuse_links()


def test_a_run_that_went_on_elsewhere_has_moved(run: RunDir) -> None:
    run.mark_resumed("", b"", {})
    assert not run.environment_changed
    run.mark_resumed("", b"", {"threads": (1, 2)})
    assert run.environment_changed


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000])
def test_json_that_is_no_table_is_named(run: RunDir, content: str) -> None:
    (run.path / "result.json").write_text(content)
    with pytest.raises(DataError, match=r"result\.json is damaged"):
        run.read_json("result.json")
    (run.path / "metrics.jsonl").write_text('{"epoch": 1}\n' + content)
    assert run.read_metrics() == [{"epoch": 1}]


def test_predictions_are_read_as_they_were_written(run: RunDir) -> None:
    assert run.read_predictions() is None
    predictions = Predictions(("a,\n", "\udcff"), (0, 1), ((0.75, 0.25, 0.0), (0.0, 0.25, 0.75)))
    run.write_predictions(predictions, ("ducks", "frogs", "newts"))
    classes, rows = run.read_predictions() or ((), [])
    assert classes == ("ducks", "frogs", "newts")
    assert rows[0] == ["a,\n", "ducks", "ducks", "0.750000", "0.250000", "0.000000"]
    assert rows[1][:3] == ["\udcff", "frogs", "newts"]


def test_where_links_are_not_known_there_is_no_latest(pond: Registry, tmp_path: Path) -> None:
    (tmp_path / "pond" / "latest").mkdir(parents=True)
    (tmp_path / "pond" / "latest" / "in the way").touch()
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    assert run.path.is_dir()
    assert not (tmp_path / "pond" / "latest").is_symlink()
