"""A run's directory: one process at a time, and files that may be missing, damaged or someone else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from zoo_core import (
    DataError,
    EpochResult,
    IntegrityError,
    Predictions,
    PredictionTable,
    Registry,
    ResourceError,
    UsageError,
)
from zoo_core.disk.atomic import append_line
from zoo_core.runs.directory import RunDir


@pytest.fixture
def run(pond: Registry, tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "runs", pond.plan("pond"), {})


def test_only_one_process_trains_a_run_at_a_time(run: RunDir) -> None:
    assert not run.is_locked
    with FileLock(run.path / ".lock"):
        assert run.is_locked
        with pytest.raises(UsageError, match=r"is already running\nprocess [0-9]+ on .+ is training it"), run.locked():
            pass
    with run.locked():
        pass


def test_ranks_that_do_not_write_need_no_lock(run: RunDir) -> None:
    with FileLock(run.path / ".lock"), RunDir(run.path, writes=False).locked():
        pass


def test_ranks_that_do_not_write_write_nothing(run: RunDir) -> None:
    silent, before = RunDir(run.path, writes=False), sorted(run.path.iterdir())
    silent.record(EpochResult(1, 1, {"loss": 1.0}, 1.0))
    silent.mark_resumed("000000-000000001", b"{}", {})
    silent.write_result("finished")
    assert sorted(run.path.iterdir()) == before
    assert run.status == "running"


def test_a_killed_run_is_interrupted_and_names_its_process(run: RunDir) -> None:
    assert (run.status, run.read_json("result.json")["reason"].split()[0]) == ("running", "process")
    status, reason = run.outcome()
    assert status == "interrupted"
    assert reason.startswith("killed (process ")
    with FileLock(run.path / ".lock"):
        assert run.outcome()[0] == "running"


def test_a_resume_restores_the_metrics_and_is_recorded(run: RunDir) -> None:
    for epoch in (1, 2):
        run.record(EpochResult(epoch, 2, {"loss": 1.0 / epoch}, 1.0))
    first = (run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0]
    run.mark_resumed("000001-000000007", first, {"threads": (1, 2)})
    assert [line["epoch"] for line in run.read_metrics()] == [1]
    assert (
        '"checkpoint": "000001-000000007", "changed": {"threads": [1, 2]}' in (run.path / "resumes.jsonl").read_text()
    )


def test_kinds_that_a_trainer_declares_are_recorded(run: RunDir) -> None:
    run.record(EpochResult(1, 1, {"loss": 1.0, "agreement": 0.5}, 1.0, kinds={"agreement": "fraction"}))
    assert run.read_metrics() == [{"epoch": 1, "loss": 1.0, "agreement": 0.5, "seconds": 1.0}]
    assert run.read_metric_kinds() == {"agreement": "fraction"}


def test_a_run_without_weights_says_so(run: RunDir) -> None:
    with pytest.raises(DataError, match="has no weights"):
        run.read_weights()


def test_a_file_that_cannot_be_read_is_named(run: RunDir) -> None:
    (run.path / "predictions.csv").mkdir()
    with pytest.raises(DataError, match=r"predictions\.csv cannot be read"):
        run.read_predictions()


def test_a_link_is_not_followed(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (run.path / "audit.json").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"audit\.json is a link"):
        run.read_json("audit.json")


@pytest.mark.parametrize("name", ["result.json", "predictions.csv", "weights.safetensors"])
def test_a_pipe_is_refused_without_waiting_for_a_writer(run: RunDir, name: str) -> None:
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    with pytest.raises(DataError, match="it is not a regular file"):
        run.read(name)
    with pytest.raises(DataError, match="it is not a regular file"):
        run.read_weights() if name == "weights.safetensors" else run.read_json(name)


@pytest.mark.parametrize("name", ["resumes.jsonl", "metrics.jsonl"])
def test_nothing_is_written_through_a_link(run: RunDir, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("theirs\n")
    (run.path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ResourceError):
        append_line(run.path / name, "ours")
    with pytest.raises(IntegrityError, match=f"{name} is a link"):
        run.refuse_links()
    assert (tmp_path / "outside").read_text() == "theirs\n"


def test_a_pipe_in_a_subfolder_is_refused(run: RunDir) -> None:
    (run.path / "checkpoints").mkdir()
    os.mkfifo(run.path / "checkpoints" / "manifest.json")
    with pytest.raises(IntegrityError, match="is a link, a pipe or a device"):
        run.refuse_links()


def test_a_resume_in_another_environment_is_remembered(run: RunDir) -> None:
    run.mark_resumed("", b"", {})
    assert not run.environment_changed
    run.mark_resumed("", b"", {"threads": (1, 2)})
    assert run.environment_changed


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000])
def test_json_that_is_not_an_object_is_named(run: RunDir, content: str) -> None:
    (run.path / "result.json").write_text(content)
    with pytest.raises(DataError, match=r"result\.json is damaged"):
        run.read_json("result.json")
    (run.path / "metrics.jsonl").write_text('{"epoch": 1}\n' + content)
    assert run.read_metrics() == [{"epoch": 1}]


def test_predictions_are_read_as_they_were_written(run: RunDir) -> None:
    assert run.read_predictions() is None
    predictions = Predictions(("a,\n", "\udcff"), (0, 1), ((0.75, 0.25, 0.0), (0.0, 0.25, 0.75)))
    table = PredictionTable.of(predictions, ("ducks", "frogs", "newts"))
    run.write_predictions(table)
    assert run.read_predictions() == table


def test_a_damaged_table_of_predictions_is_named(run: RunDir) -> None:
    (run.path / "predictions.csv").write_text("image,label,prediction,p(a)\nx,y,z,0.5\n")
    with pytest.raises(DataError, match=r"predictions\.csv is damaged\n'y' is not one of its classes"):
        run.read_predictions()


def test_latest_is_not_linked_where_links_are_not_possible(pond: Registry, tmp_path: Path) -> None:
    (tmp_path / "pond" / "latest").mkdir(parents=True)
    (tmp_path / "pond" / "latest" / "in the way").touch()
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    assert run.path.is_dir()
    assert not (tmp_path / "pond" / "latest").is_symlink()
