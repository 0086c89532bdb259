"""Where we are: versions, machine and settings, for `zoo env` and for every run directory. Needs no torch."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from zoo_core.store.store import Store

PACKAGES = ("zoo-core", "torch", "torchvision", "timm", "numpy", "pillow", "pydantic", "pluggy", "safetensors")
VARIABLES = ("ZOO_CACHE", "ZOO_CONFIG", "ZOO_OFFLINE", "ZOO_REGISTRY", "ZOO_DEBUG", "NO_COLOR")


def environment(store: Store) -> dict[str, Any]:
    """Return versions, machine, cache folder, and those environment variables that zoo reads and that are set."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "cache": str(store.root),
        "offline": store.offline,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def package_version(package: str) -> str:
    """Return a distribution's version, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
