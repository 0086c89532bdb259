"""The cache key of a backbone's features: a hash of everything they depend on."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from zoo_core.engine.models.build import state_hash
from zoo_core.engine.training.trainer import Job
from zoo_core.images.image_sets import ImageSet
from zoo_core.registry.package_owners import owner_of
from zoo_core.runs.environment import package_version

LIBRARIES = ("torch", "timm", "torchvision", "pillow", "zoo-core")


def feature_key(backbone: nn.Module, images: ImageSet, job: Job) -> str:
    """Return the key; if anything the features depend on changes, so does the key."""
    model = job.plan.model
    package = model.builder.partition(":")[0].partition(".")[0]
    depends_on = {
        "weights": state_hash(backbone),
        "backbone": [model.builder, dict(model.fixed), job.plan.model_options],
        "code": {name: package_version(name) for name in LIBRARIES},
        "plugin": [owner_of(package), source_hash(package)],
        "input": job.plan.input.model_dump(mode="json"),
        "precision": job.precision.name,
        "device": job.device.type,
        "images": images.fingerprint,
    }
    return sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


def source_hash(package: str) -> str:
    """Return a hash of a top-level package's Python files, or of a single module's; versions do not cover edits.

    Libraries whose version is part of the key are not hashed: they are large and are not edited in place.
    """
    if package in ("torch", "timm", "torchvision"):
        return ""
    spec = find_spec(package)
    if spec is None:
        return ""
    roots = [Path(path) for path in spec.submodule_search_locations or ()]
    files = [path for root in roots for path in sorted(root.rglob("*.py"))] or [Path(spec.origin or "")]
    digest = sha256()
    for path in files:
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()
