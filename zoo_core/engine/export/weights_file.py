"""The weights of a run as one safetensors file, which describes itself and can be imported again."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

from zoo_core.engine.models.weights import is_in_head, load_tensors, save_tensors
from zoo_core.engine.models.weights_metadata import WeightsMetadata
from zoo_core.runs.directory import RunDir

Dtype = Literal["float32", "float16", "bfloat16"]


def weights_file(run: RunDir, dtype: Dtype) -> tuple[bytes, Literal["all", "head"], str | None]:
    """Return the bytes of a file, what it covers, and the name of the backbone weights below a head.

    It contains the weights of the whole model, or of the head where the backbone was not trained. With a 16-bit
    `dtype`, every floating-point tensor is rounded: measure the accuracy again.

    Raises:
        DataError: the run did not finish.
    """
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
    return save_tensors(rounded, metadata.as_header()), metadata.covers, metadata.backbone
