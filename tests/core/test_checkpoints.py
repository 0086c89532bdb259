"""Checkpoints: written completely or not at all, verified, and pruned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo_core import IntegrityError
from zoo_core.runs.checkpoints import MANIFEST, MOST, Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def content_of(checkpoints: Checkpoints) -> bytes | None:
    newest, _ = checkpoints.newest()
    return newest.files["state"] if newest else None


def test_a_saved_checkpoint_is_read_back(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(1, 20, {"state": b"tensors", "position.json": b"{}"})
    newest, damaged = checkpoints.newest()
    assert newest is not None
    assert (newest.path, dict(newest.files), damaged) == (path, {"state": b"tensors", "position.json": b"{}"}, ())


def test_without_a_save_there_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() == (None, ())


def test_the_newest_is_the_one_with_the_most_steps(checkpoints: Checkpoints) -> None:
    for position in ((0, 5), (0, 1_000_000), (1, 0)):
        checkpoints.save(*position, {"state": repr(position).encode()})
    assert content_of(checkpoints) == b"(1, 0)"
    assert checkpoints.names() == ["000000-001000000", "000001-000000000"]


def test_old_checkpoints_are_deleted_except_one_to_fall_back_on(checkpoints: Checkpoints) -> None:
    for step in range(5):
        checkpoints.save(0, step, {"state": b"x"})
    assert len(checkpoints.names()) == MOST
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == checkpoints.names()


@pytest.mark.parametrize(
    "how", ["cut", "flipped", "gone", "no manifest", "manifest of nonsense", "manifest of another"]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(checkpoints: Checkpoints, how: str) -> None:
    checkpoints.save(0, 1, {"state": b"first"})
    newest = checkpoints.save(0, 2, {"state": b"second"})
    state, manifest = newest / "state", newest / MANIFEST
    match how:
        case "cut":
            state.write_bytes(b"sec")
        case "flipped":
            state.write_bytes(b"sfcond")
        case "gone":
            state.unlink()
        case "no manifest":
            manifest.unlink()
        case "manifest of nonsense":
            manifest.write_bytes(b"\xff{")
        case _:
            manifest.write_text(json.dumps({"files": {"../../outside": {"size": 1, "sha256": "0" * 64}}}))
    intact, (error,) = checkpoints.newest()
    assert intact is not None
    assert intact.files["state"] == b"first"
    assert str(newest) in str(error)
    assert isinstance(error, IntegrityError)


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(0, 1, {"state": b"first"})
    (path / "state").write_bytes(b"spoilt")
    checkpoints.save(0, 1, {"state": b"again"})
    assert content_of(checkpoints) == b"again"


def test_a_checkpoint_that_is_saved_already_is_not_rewritten(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(0, 1, {"state": b"first"})
    monkeypatch.setenv("ZOO_FAILPOINT", "*:1:ENOSPC")
    checkpoints.save(0, 1, {"state": b"first"})
    assert content_of(checkpoints) == b"first"


def test_damaged_checkpoints_are_deleted_on_resume(checkpoints: Checkpoints) -> None:
    for step in (1, 2):
        checkpoints.save(0, step, {"state": b"x"})
    checkpoints.forget_after("000000-000000001")
    assert checkpoints.names() == ["000000-000000001"]


def test_leftovers_of_a_killed_process_are_swept_and_never_read(checkpoints: Checkpoints) -> None:
    checkpoints.save(0, 1, {"state": b"first"})
    for name in (".000000-000000002.abc.part", ".000000-000000000.abc.part"):
        (checkpoints.folder / name).mkdir()
        (checkpoints.folder / name / "state").write_bytes(b"half")
    assert content_of(checkpoints) == b"first"
    checkpoints.sweep()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["000000-000000001"]


def test_clear_deletes_everything(checkpoints: Checkpoints) -> None:
    checkpoints.clear()
    checkpoints.save(0, 1, {"state": b"first"})
    checkpoints.clear()
    assert list(checkpoints.folder.parent.iterdir()) == []
