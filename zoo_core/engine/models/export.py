"""From a run to weights that can be published: one safetensors file, and what a card has to say of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from zoo_core.disk.atomic import atomic_write
from zoo_core.engine.models.weights import is_in_head, load_tensors, save_tensors
from zoo_core.runs.directory import RunDir

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class ExportResult:
    """A written file, as a WeightsCard describes it."""

    path: Path
    covers: Literal["all", "head"]
    backbone: str | None  # the backbone weights below a head
    size: int
    sha256: str


def export(run_path: Path, target: Path, *, dtype: Dtype = "float32") -> ExportResult:
    """Write a run's weights: those of the whole model, or of the head where the backbone stayed as it was.

    With a 16-bit `dtype` every floating-point tensor is rounded; measure the accuracy again after it.

    Raises:
        DataError: the run has no weights.
    """
    run = RunDir.open(run_path)
    plan = run.plan()
    tensors = load_tensors(run.read_weights(), str(run.weights))
    whole = not plan.weights or not all(is_in_head(name, plan.model) for name in tensors)
    rounded = {name: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for name, t in tensors.items()}
    content = save_tensors(rounded)
    atomic_write(target, content)
    backbone = None if whole else plan.weights[-1].name
    sha256 = hashlib.sha256(content).hexdigest()
    return ExportResult(target, "all" if whole else "head", backbone, len(content), sha256)
