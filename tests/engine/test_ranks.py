"""How ranks share the work: nothing is left out, nothing is taken twice, and one process's sums come out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn import functional as F

from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, device_of, distributed_session
from zoo_core.engine.compute.precision import FLOAT32
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.engine.training.fast_path.shared_dropout import SharedDropout
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.recipes import Recipe

RECIPE = Recipe(name="r", summary="s", model="m", dataset="d", epochs=1, batch_size=3)


def shares(batch: torch.Tensor, count: int) -> list[torch.Tensor]:
    return [World(rank, count).shard(batch) for rank in range(count)]


@given(total=st.integers(0, 50), count=st.integers(1, 9))
def test_every_index_is_in_one_share(total: int, count: int) -> None:
    parts = shares(torch.arange(total), count)
    assert sorted(index for part in parts for index in part.tolist()) == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(total=st.integers(1, 40), batch_size=st.integers(1, 9), count=st.integers(1, 5), epoch=st.integers(0, 3))
def test_an_epoch_sees_each_sample_once_whatever_the_ranks(total: int, batch_size: int, count: int, epoch: int) -> None:
    seen = []
    for batch in epoch_order(7, epoch, total).split(batch_size):
        parts = [
            TrainingLoop(torch.nn.Identity(), RECIPE, torch.device("cpu"), FLOAT32, World(r, count))
            for r in range(count)
        ]
        for share in (loop._share(batch) for loop in parts):
            seen += share.indices.tolist() if share.weight else []
    assert seen.count(0) == 1
    assert sorted(seen) == list(range(total))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_mean_over_the_ranks_is_the_batchs_mean(count: int) -> None:
    """Also for a batch that they cannot share evenly, and where one has nothing to do."""
    values = torch.tensor([1.0, 4.0, 9.0, 16.0])
    loops = [
        TrainingLoop(torch.nn.Identity(), RECIPE, torch.device("cpu"), FLOAT32, World(r, count)) for r in range(count)
    ]
    parts = [loop._share(torch.arange(4)) for loop in loops]
    mean = sum(values[part.indices].mean() * part.weight for part in parts) / count
    torch.testing.assert_close(mean, values.mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_the_same_whatever_the_ranks(dtype: torch.dtype) -> None:
    inputs = torch.ones(7, 50, dtype=dtype)
    torch.manual_seed(3)
    alone = F.dropout(inputs, 0.25)
    for rank in range(3):
        rows = torch.arange(7)[rank::3]
        torch.manual_seed(3)
        with SharedDropout(7, rows):
            assert torch.equal(torch.nn.Dropout(0.25)(inputs[rows]), alone[rows])


def test_dropout_in_evaluation_mode_drops_nothing() -> None:
    rows = torch.arange(4)[::2]
    with SharedDropout(4, rows):
        assert torch.equal(torch.nn.Dropout(0.5).eval()(torch.ones(2, 3)), torch.ones(2, 3))


def test_without_torchrun_we_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed_session() as world:
        assert world == SINGLE_PROCESS
    assert world.is_first
    assert world.all_reduce_mean(3.0) == 3.0
    assert world.broadcast("x") == "x"
    assert world.all_gather(1) == [1]


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda:1"])
def test_the_device_is_what_it_says_where_there_is_no_gpu_to_share_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(name) == name


def test_each_rank_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_of(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
