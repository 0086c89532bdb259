"""Exports a run's weights: one self-describing safetensors file."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from zoo_core.disk.atomic import atomic_write
from zoo_core.engine.models.weights import is_in_head, load_tensors, save_tensors
from zoo_core.engine.models.weights_metadata import WeightsMetadata
from zoo_core.errors import UsageError, printable
from zoo_core.runs.directory import RunDir

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class ExportResult:
    """A written file, as a WeightsCard describes it."""

    path: Path
    covers: Literal["all", "head"]
    backbone: str | None  # the backbone weights below a head
    size: int  # bytes
    sha256: str


def export(run_path: Path, target: Path, *, dtype: Dtype = "float32", force: bool = False) -> ExportResult:
    """Write a run's weights: those of the whole model, or of the head where the backbone was not trained.

    With a 16-bit `dtype`, every floating-point tensor is rounded: measure the accuracy again.

    Raises:
        UsageError: the target is not .safetensors, or exists and `force` is not set.
        DataError: the run did not finish.
    """
    _require_writable(run_path, target, force)
    run = RunDir.open(run_path)
    plan, saved = run.plan(), run.read_weights()
    tensors = load_tensors(saved, str(run.weights))
    complete = not plan.weights or not all(is_in_head(name, plan.model) for name in tensors)
    metadata = WeightsMetadata(
        model=plan.model.name,
        classes=plan.classes,
        input=plan.input,
        covers="all" if complete else "head",
        backbone=None if complete else plan.weights[-1].name,
        options=plan.model_options,
        thresholds=run.thresholds(),
        run_sha256=hashlib.sha256(saved).hexdigest(),
    )
    rounded = {name: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for name, t in tensors.items()}
    content = save_tensors(rounded, metadata.as_header())
    atomic_write(target, content)
    sha256 = hashlib.sha256(content).hexdigest()
    return ExportResult(target, metadata.covers, metadata.backbone, len(content), sha256)


def _require_writable(run: Path, target: Path, force: bool) -> None:
    command = f"zoo export {shlex.quote(str(run))}"
    if target.suffix != ".safetensors":
        raise UsageError(
            f"cannot export to {printable(str(target))}",
            why=f"{target.suffix or 'a name without a suffix'} is not supported; .safetensors is",
            fix=f"{command} {shlex.quote(str(target.with_suffix('.safetensors')))}",
        )
    if target.exists() and not force:
        raise UsageError(f"{printable(str(target))} exists", fix=f"{command} {shlex.quote(str(target))} --force")
