from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo_core import IntegrityError
from zoo_core.runs.checkpoints import KEPT, MANIFEST, Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def content_of(checkpoints: Checkpoints) -> bytes | None:
    kept, _ = checkpoints.newest()
    return kept.files["state"] if kept else None


def test_what_was_saved_is_read_back(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(1, 20, {"state": b"tensors", "position.json": b"{}"})
    kept, damaged = checkpoints.newest()
    assert kept is not None
    assert (kept.path, dict(kept.files), damaged) == (path, {"state": b"tensors", "position.json": b"{}"}, ())


def test_where_nothing_was_saved_there_is_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() == (None, ())


def test_the_newest_is_the_farthest_whatever_the_clock_says(checkpoints: Checkpoints) -> None:
    for place in ((0, 5), (0, 1_000_000), (1, 0)):
        checkpoints.save(*place, {"state": repr(place).encode()})
    assert content_of(checkpoints) == b"(1, 0)"
    assert checkpoints.names() == ["000000-001000000", "000001-000000000"]


def test_old_ones_go_and_one_stays_to_fall_back_on(checkpoints: Checkpoints) -> None:
    for step in range(5):
        checkpoints.save(0, step, {"state": b"x"})
    assert len(checkpoints.names()) == KEPT
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == checkpoints.names()


@pytest.mark.parametrize(
    "how", ["cut", "flipped", "gone", "no manifest", "manifest of nonsense", "manifest of another"]
)
def test_a_damaged_one_is_named_and_the_one_before_it_wins(checkpoints: Checkpoints, how: str) -> None:
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
    kept, (error,) = checkpoints.newest()
    assert kept is not None
    assert kept.files["state"] == b"first"
    assert str(newest) in str(error)
    assert isinstance(error, IntegrityError)


def test_a_damaged_one_of_the_same_place_is_replaced(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(0, 1, {"state": b"first"})
    (path / "state").write_bytes(b"spoilt")
    checkpoints.save(0, 1, {"state": b"again"})
    assert content_of(checkpoints) == b"again"


def test_what_is_saved_already_is_not_taken_away_to_be_saved_again(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(0, 1, {"state": b"first"})
    monkeypatch.setenv("ZOO_FAILPOINT", "*:1:ENOSPC")
    checkpoints.save(0, 1, {"state": b"first"})
    assert content_of(checkpoints) == b"first"


def test_those_that_were_found_damaged_are_forgotten(checkpoints: Checkpoints) -> None:
    for step in (1, 2):
        checkpoints.save(0, step, {"state": b"x"})
    checkpoints.forget_after("000000-000000001")
    assert checkpoints.names() == ["000000-000000001"]


def test_what_a_killed_process_left_is_swept_and_never_read(checkpoints: Checkpoints) -> None:
    checkpoints.save(0, 1, {"state": b"first"})
    for name in (".000000-000000002.abc.part", ".000000-000000000.abc.part"):
        (checkpoints.folder / name).mkdir()
        (checkpoints.folder / name / "state").write_bytes(b"half")
    assert content_of(checkpoints) == b"first"
    checkpoints.sweep()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["000000-000000001"]


def test_clearing_leaves_nothing(checkpoints: Checkpoints) -> None:
    checkpoints.clear()
    checkpoints.save(0, 1, {"state": b"first"})
    checkpoints.clear()
    assert list(checkpoints.folder.parent.iterdir()) == []
