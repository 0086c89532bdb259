"""Where we are: versions, machine and settings, for `zoo env` and for every run directory. Needs no torch."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo_core.registry.distributions import installed
from zoo_core.store.store import Store

PACKAGES = ("zoo-core", "torch", "torchvision", "timm", "numpy", "pillow", "pydantic", "pluggy", "safetensors")
VARIABLES = ("ZOO_CACHE", "ZOO_CONFIG", "ZOO_OFFLINE", "ZOO_REGISTRY", "ZOO_DEBUG", "NO_COLOR")


def environment(store: Store) -> dict[str, Any]:
    """Return versions, machine, cache folder, and those environment variables that zoo reads and that are set."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "plugins": {distribution.name: distribution.version for distribution in installed()},
        "cache": str(store.root),
        "offline": store.offline,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def processor() -> str:
    """Return the processor's model name, or what the system knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def package_version(package: str) -> str:
    """Return a distribution's version, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
