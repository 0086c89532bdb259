"""The processes that share one piece of work, as `torchrun` starts them: each takes its part, the first writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from zoo_core.errors import TERMINATED, ResourceError, ZooError

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # of one exchange: so long may one rank fetch or decode while the others wait
CLAIM = "zoo/first to fail"


@dataclass(frozen=True)
class World:
    """This process's place among those that share the work."""

    rank: int = 0
    count: int = 1
    local_count: int = 1  # of them on this machine

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def shard(self, indices: Tensor) -> Tensor:
        """Return this rank's part, (n,) of (N,): every count-th, so that the parts differ by one at most."""
        return indices[self.rank :: self.count]

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Return the module to train with: gradients are averaged over the ranks."""
        return model if self.count == 1 else nn.parallel.DistributedDataParallel(model)

    def all_gather_rows(self, rows: Tensor, total: int) -> Tensor:
        """Return all (total, …) rows, in order, when each rank has its share of them."""
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
        """Fill tensors with what the first rank has in them."""
        for tensor in tensors if self.count > 1 else ():
            distributed.broadcast(tensor, src=0)

    def all_gather(self, value: T) -> list[T]:
        """Return every rank's value, in the order of the ranks."""
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
    """Return the device that this process is to take where `name` leaves it open: each rank its own GPU."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if name in ("auto", "cuda") and local and torch.cuda.is_available() else name


@contextmanager
def distributed_session() -> Iterator[World]:
    """Join the other processes where `torchrun` started us; without it we are alone.

    Raises:
        ResourceError: another rank is gone. Only the first to notice says so; the others end in silence.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield SINGLE_PROCESS
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield World(distributed.get_rank(), count, int(os.environ.get("LOCAL_WORLD_SIZE", count)))
    except ZooError as error:
        raise _to_tell(error) from error
    except RuntimeError as error:  # what the exchange raises when the other side is gone
        raise _to_tell(_gone("the connection to another rank broke")) from error
    except SystemExit as error:
        if error.code != TERMINATED:
            raise
        raise _to_tell(_gone("the launcher ended this one")) from error
    finally:
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _to_tell(error: ZooError) -> BaseException:
    """Return the error, with the rank that it came to, for the first rank to fail; the end in silence for others."""
    if not _claimed():
        return SystemExit(error.exit_code)
    error.add_note(f"on rank {distributed.get_rank()} of {distributed.get_world_size()}")
    return error


def _claimed() -> bool:
    """Tell whether we are the first to fail; the store is the launcher's, and outlives every rank."""
    try:
        return bool(distributed.distributed_c10d._get_default_store().add(CLAIM, 1) == 1)
    except RuntimeError:
        return distributed.get_rank() == 0


def _gone(why: str) -> ResourceError:
    return ResourceError("a process of this run is gone", why=why, fix="run the same command again")
