"""The processes that `torchrun` starts: each takes its shard of the work, and the first one writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from zoo_core.errors import HUNG_UP, TERMINATED, ResourceError, ZooError

T = TypeVar("T")
COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # how long one rank may download or decode while the others wait
FIRST_TO_FAIL = "zoo/first to fail"


@dataclass(frozen=True)
class World:
    """This process's rank among those that share the work, and their number: the world size."""

    rank: int = 0
    count: int = 1
    local_count: int = 1  # processes on this machine

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def shard(self, indices: Tensor) -> Tensor:
        """Return this rank's shard, (n,) of (N,): every count-th, so that lengths differ by at most one."""
        return indices[self.rank :: self.count]

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Return the module to call in training, which averages gradients over the ranks."""
        return model if self.count == 1 else nn.parallel.DistributedDataParallel(model)

    def adding_up(self, module: nn.Module, *, more: bool) -> AbstractContextManager[None]:
        """Return a context for one of a step's backward passes; ranks average the sum of gradients in the last."""
        if isinstance(module, nn.parallel.DistributedDataParallel) and more:
            return module.no_sync()
        return nullcontext()

    def all_gather_rows(self, rows: Tensor, total: int) -> Tensor:
        """Return all (total, ...) rows in order; each rank passes its shard of them."""
        if self.count == 1:
            return rows
        longest = -(-total // self.count)
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        distributed.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]

    def all_reduce_mean(self, value: float) -> float:
        """Return the mean over the ranks."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item() / self.count

    def broadcast_buffers(self, tensors: Iterable[Tensor]) -> None:
        """Copy the first rank's values into tensors, in place."""
        for tensor in tensors if self.count > 1 else ():
            distributed.broadcast(tensor, src=0)

    def all_gather(self, value: T) -> list[T]:
        """Return every rank's value, by rank."""
        if self.count == 1:
            return [value]
        boxes: list[T | None] = [None] * self.count
        distributed.all_gather_object(boxes, value)
        return cast("list[T]", boxes)

    def broadcast(self, value: T) -> T:
        """Return the first rank's value."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]


SINGLE_PROCESS = World()


def device_of(name: str) -> str:
    """Return this process's device: where `name` does not name one GPU, every rank gets a different one."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if name in ("auto", "cuda") and local and torch.cuda.is_available() else name


@contextmanager
def distributed_session() -> Iterator[World]:
    """Join the process group if `torchrun` started this process; otherwise there is one process.

    Raises:
        ResourceError: another rank has died. Only the first rank to notice reports it; the others exit silently.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield SINGLE_PROCESS
        return
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=COLLECTIVE_TIMEOUT
    )
    try:
        yield World(distributed.get_rank(), count, int(os.environ.get("LOCAL_WORLD_SIZE", count)))
    except ZooError as error:
        raise _reported_once(error) from error
    except RuntimeError as error:  # what collectives raise when another rank has died
        raise _reported_once(_rank_died("the connection to another rank broke")) from error
    except SystemExit as error:
        if error.code not in (TERMINATED, HUNG_UP):
            raise
        raise _reported_once(_rank_died("the launcher ended this process")) from error
    finally:
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _reported_once(error: ZooError) -> BaseException:
    """Return the error, with a note on the rank, for the first rank to fail; for the others, a silent exit."""
    if not _is_first_to_fail():
        return SystemExit(error.exit_code)
    error.add_note(f"on rank {distributed.get_rank()} of {distributed.get_world_size()}")
    return error


def _is_first_to_fail() -> bool:
    """Return whether no rank has failed before; the store belongs to the launcher, and outlives every rank."""
    try:
        return bool(distributed.distributed_c10d._get_default_store().add(FIRST_TO_FAIL, 1) == 1)
    except RuntimeError:
        return distributed.get_rank() == 0


def _rank_died(why: str) -> ResourceError:
    return ResourceError("a process of this run died", why=f"{why}; run the same command again")
