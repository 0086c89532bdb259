"""Retains freed memory between training steps, and reports when memory runs out."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from zoo_core.errors import ResourceError
from zoo_core.recipes.recipe import Recipe

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's constants, from malloc.h
DEFAULT_TRIM, DEFAULT_MMAP = 128 * 1024, 65_536  # glibc's defaults; see mallopt(3)
NEVER = 2**31 - 1


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Inside, the process retains freed memory; afterwards it is returned to the system.

    A training step frees its activations and gradients, and the next one allocates as much again. By default glibc maps
    each large block from the system and unmaps it, so every step pays for the same page faults again: a third of a step
    with 10 million parameters and 8 images (tests/benchmarks/speed.py). The setting is process-wide, and part of the
    fast path that precision "float32" turns off. Without glibc, nothing changes.
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
    """Inside, running out of memory is a ResourceError; on the CPU, PyTorch has no exception class for it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not out_of_memory and "can't allocate memory" not in str(error):
            raise
        smaller = max(1, recipe.batch_size // 2)
        raise ResourceError(
            f"there is not enough memory for batches of {recipe.batch_size}",
            why=str(error).partition("\n")[0],
            fix=f"zoo run {recipe.name} --batch-size {smaller}",
        ) from error
