"""Freed memory is retained inside the context, and returned afterwards."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from zoo_core.engine.compute.memory import retain_freed_memory


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def page_faults_of_twenty_large_tensors() -> int:
    before = faults()
    for _ in range(20):
        torch.ones(4_000_000)  # 16 MB
    return faults() - before


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_pages_are_used_again() -> None:
    with retain_freed_memory():
        page_faults_of_twenty_large_tensors()  # until there is room enough
        inside = page_faults_of_twenty_large_tensors()
    outside = page_faults_of_twenty_large_tensors()
    assert inside * 4 < outside
