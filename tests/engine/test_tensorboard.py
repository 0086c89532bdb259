from __future__ import annotations

from pathlib import Path

import pytest

from zoo_core import Registry, Store, UsageError
from zoo_core.engine.training import tensorboard
from zoo_core.engine.training.run import execute


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_every_epoch_is_written_for_tensorboard(pond: Registry, store: Store, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = execute(pond.plan("pond", {"epochs": 3}), store=store, out=tmp_path, tensorboard=True)
    board = EventAccumulator(str(result.directory))
    board.Reload()
    assert [scalar.step for scalar in board.Scalars("loss")] == [1, 2, 3]
    assert board.Scalars("loss")[-1].value == pytest.approx(result.metrics["loss"], abs=1e-6)


def test_a_missing_package_is_named_before_anything_is_written(
    pond: Registry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="tensorboard is not installed"):
        execute(pond.plan("pond"), store=store, out=tmp_path / "runs", tensorboard=True)
    assert not (tmp_path / "runs").exists()
