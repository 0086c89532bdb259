"""How ranks share the work: every example is processed once, and the sums equal those of a single process."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from zoo_core.engine.compute.distributed import SINGLE_PROCESS, World, device_of, distributed_session
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.engine.training.batch_shards import BatchShard, split_batches


def shares(batch: torch.Tensor, count: int) -> list[torch.Tensor]:
    return [World(rank, count).shard(batch) for rank in range(count)]


@given(total=st.integers(0, 50), count=st.integers(1, 9))
def test_every_index_is_in_one_shard(total: int, count: int) -> None:
    parts = shares(torch.arange(total), count)
    assert sorted(index for part in parts for index in part.tolist()) == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(total=st.integers(1, 40), batch_size=st.integers(1, 9), count=st.integers(1, 5), epoch=st.integers(0, 3))
def test_an_epoch_visits_each_example_once_for_any_world_size(
    total: int, batch_size: int, count: int, epoch: int
) -> None:
    seen = []
    for batch in split_batches(epoch_order(7, epoch, total), batch_size):
        for rank in range(count):
            shard = BatchShard.of(batch, World(rank, count))
            seen += shard.indices.tolist() if shard.weight else []
    assert sorted(seen) == list(range(total))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_mean_over_the_ranks_is_the_mean_over_the_batch(count: int) -> None:
    """Also for a batch that does not divide evenly, and for a rank with nothing to do."""
    values = torch.tensor([1.0, 4.0, 9.0, 16.0])
    shards = [BatchShard.of(torch.arange(4), World(rank, count)) for rank in range(count)]
    mean = sum(values[shard.indices].mean() * shard.weight for shard in shards) / count
    torch.testing.assert_close(mean, values.mean())


@pytest.mark.parametrize(
    ("total", "batch_size", "sizes"), [(12, 11, [12]), (7, 3, [3, 4]), (6, 3, [3, 3]), (8, 3, [3, 3, 2]), (1, 3, [1])]
)
def test_a_last_batch_of_one_joins_the_batch_before_it(total: int, batch_size: int, sizes: list[int]) -> None:
    order = torch.randperm(total)
    batches = split_batches(order, batch_size)
    assert [len(batch) for batch in batches] == sizes
    assert torch.equal(torch.cat(batches), order)


def test_batches_of_one_stay_batches_of_one() -> None:
    assert [len(batch) for batch in split_batches(torch.arange(3), 1)] == [1, 1, 1]


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed_session() as world:
        assert world == SINGLE_PROCESS
    assert world.is_first
    assert world.all_reduce_mean(3.0) == 3.0
    assert world.broadcast("x") == "x"
    assert world.all_gather(1) == [1]


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda:1"])
def test_without_gpus_the_device_name_is_not_changed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(name) == name


def test_each_rank_gets_a_different_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_of(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
