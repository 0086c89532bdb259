"""Keeps freed memory for the next step, where the C library would give it back and have it cleared anew each time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for these numbers, in malloc.h
DEFAULT_TRIM, DEFAULT_MMAP = 128 * 1024, 65_536  # glibc's own; see mallopt(3)
NEVER = 2**31 - 1


@contextmanager
def freed_memory_kept() -> Iterator[None]:
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
