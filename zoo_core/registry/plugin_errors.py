"""Reports an exception from a plugin's code as the plugin's, with the line that raised it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb

from zoo_core.errors import PluginError, ZooError
from zoo_core.registry.package_owners import owner_of

OURS = ("zoo_core", "torch", "torchvision", "timm")  # an exception that only involves these is not a plugin's


@contextmanager
def attributed_to_plugins(*references: str) -> Iterator[None]:
    """Inside, an exception that passes through code of these references ("module:name") is a PluginError.

    It names the distribution, and the innermost file and line of the plugin. Errors of zoo pass unchanged.

    Raises:
        PluginError: a plugin's code raised something else than a ZooError.
    """
    try:
        yield
    except ZooError:
        raise
    except Exception as error:
        packages = {reference.partition(":")[0].partition(".")[0] for reference in references}.difference(OURS)
        for frame in reversed(extract_tb(error.__traceback__)):
            package = next((name for name in sorted(packages) if _contains(name, frame.filename)), None)
            if package is not None:
                raise _plugin_error(package, f"{frame.filename}:{frame.lineno}", error) from error
        raise


def _plugin_error(package: str, line: str, error: Exception) -> PluginError:
    plugin = owner_of(package) or package
    return PluginError(
        f"{plugin} raised {type(error).__name__}",
        why=f"{error}\nat {line}: please report this to the plugin's author",
        fix=f"zoo plugins check {plugin.partition(' ')[0]}",
    )


def _contains(package: str, filename: str) -> bool:
    """Return whether a file belongs to a top-level package or module."""
    return any(Path(filename).is_relative_to(path) for path in _paths(package))


def _paths(package: str) -> Iterable[Path]:
    module = sys.modules.get(package)
    try:
        spec = module.__spec__ if module is not None else find_spec(package)
    except ValueError:  # such as __main__
        return []
    if spec is None:
        return []
    locations = spec.submodule_search_locations
    return [Path(path) for path in locations] if locations else [Path(spec.origin or "/dev/null")]
