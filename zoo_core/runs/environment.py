"""Versions, machine and settings, for `zoo env` and for every run directory. Needs no torch."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo_core.registry.distributions import installed
from zoo_core.store.store import Store

PACKAGES = ("zoo-core", "torch", "torchvision", "timm", "numpy", "pillow", "pydantic", "pluggy", "safetensors")
VARIABLES = ("ZOO_CACHE", "ZOO_CONFIG", "ZOO_OFFLINE", "ZOO_REGISTRY", "ZOO_DEBUG", "NO_COLOR")


def environment(store: Store) -> dict[str, Any]:
    """Return versions, plugins, machine, cache folder, and the environment variables of zoo that are set."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "plugins": {distribution.name: distribution.version for distribution in installed()},
        "cache": str(store.root),
        "offline": store.offline,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def cpu_model() -> str:
    """Return the processor's name, such as "AMD EPYC 9R14"; its architecture where the system does not name it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_version(package: str) -> str:
    """Return a distribution's version, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
