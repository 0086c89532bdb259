"""Memory: freed memory is kept for the next step, and memory that cannot be had is an error with a way out."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from zoo_core.errors import ResourceError
from zoo_core.recipes import Recipe

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for these numbers, in malloc.h
DEFAULT_TRIM, DEFAULT_MMAP = 128 * 1024, 65_536  # glibc's own; see mallopt(3)
NEVER = 2**31 - 1


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Inside, freed memory stays with the process; afterwards it goes back to the system.

    A training step frees its activations and gradients, and the next one asks for as much again. By default glibc maps
    each large block from the system and unmaps it, so that every step pays for the same pages again; for 10 million
    parameters and 8 images that is a third of the step (tests/benchmarks/speed.py). Without glibc, nothing changes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "malloc_trim"):  # not glibc
        yield
        return
    assert libc is not None
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, DEFAULT_MMAP)
        libc.mallopt(TRIM_THRESHOLD, DEFAULT_TRIM)
        libc.malloc_trim(0)


@contextmanager
def translate_oom(recipe: Recipe) -> Iterator[None]:
    """Inside, memory that cannot be had is a ResourceError with a way out; PyTorch has no one error for it on a CPU."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
        if not out:
            raise
        fewer = max(1, recipe.batch_size // 2)
        raise ResourceError(
            f"there is not enough memory for batches of {recipe.batch_size}",
            why=str(error).partition("\n")[0],
            fix=f"zoo run {recipe.name} --batch-size {fewer}",
        ) from error
