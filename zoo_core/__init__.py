"""zoo: a plugin-based PyTorch model zoo.

    import zoo_core as zoo

    zoo.list_models("*cnn*")
    zoo.run("horses-inception", epochs=1)

This is the one public door. Importing it does not import torch; the names that need torch load when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from zoo_core.cards import (
    DatasetCard,
    Edition,
    File,
    ImageInput,
    ModelCard,
    Probe,
    Source,
    TrainerCard,
    Value,
    WeightsCard,
)
from zoo_core.errors import (
    CheckFailed,
    DataError,
    Diverged,
    IntegrityError,
    NetworkError,
    PluginError,
    Problem,
    ResourceError,
    UnknownName,
    UsageError,
    ZooError,
)
from zoo_core.hookspecs import hookimpl
from zoo_core.plans import Plan
from zoo_core.recipes import Recipe
from zoo_core.registry import Registry, list_models, load_registry
from zoo_core.results import (
    Checkpoint,
    Comparison,
    EpochResult,
    Prediction,
    Predictions,
    Progress,
    RunResult,
    TrainState,
)
from zoo_core.store import Store

if TYPE_CHECKING:
    from zoo_core.api import create_model, load_dataset, predict, run, transforms
    from zoo_core.engine.data import ArrayImages, ImageSet, ZipImages
    from zoo_core.engine.trainer import Job, Trainer

__all__ = [
    "ArrayImages",
    "CheckFailed",
    "Checkpoint",
    "Comparison",
    "DataError",
    "DatasetCard",
    "Diverged",
    "Edition",
    "EpochResult",
    "File",
    "ImageInput",
    "ImageSet",
    "IntegrityError",
    "Job",
    "ModelCard",
    "NetworkError",
    "Plan",
    "PluginError",
    "Prediction",
    "Predictions",
    "Probe",
    "Problem",
    "Progress",
    "Recipe",
    "Registry",
    "ResourceError",
    "RunResult",
    "Source",
    "Store",
    "TrainState",
    "Trainer",
    "TrainerCard",
    "UnknownName",
    "UsageError",
    "Value",
    "WeightsCard",
    "ZipImages",
    "ZooError",
    "create_model",
    "hookimpl",
    "list_models",
    "load_dataset",
    "load_registry",
    "predict",
    "run",
    "transforms",
]

_NEEDS_TORCH = {
    "ArrayImages": "zoo_core.engine.data",
    "ImageSet": "zoo_core.engine.data",
    "Job": "zoo_core.engine.trainer",
    "Trainer": "zoo_core.engine.trainer",
    "ZipImages": "zoo_core.engine.data",
    "create_model": "zoo_core.api",
    "load_dataset": "zoo_core.api",
    "predict": "zoo_core.api",
    "run": "zoo_core.api",
    "transforms": "zoo_core.api",
}


def __getattr__(name: str) -> object:
    """Load a name that needs torch when it is first asked for."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module 'zoo_core' has no attribute {name!r}")
    return getattr(import_module(_NEEDS_TORCH[name]), name)


def __dir__() -> list[str]:
    """Show the public names."""
    return __all__
