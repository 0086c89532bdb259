"""Installs plugins without a package client: a module and a folder of metadata next to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

GOOD = """\
from zoo_core import ImageInput, ModelCard, hookimpl


def card(name, **changes):
    gray = ImageInput(size=8, channels=1, mean=(0.5,), std=(0.5,))
    fields = dict(name=name, summary="s", license="MIT", source="a test", builder="m:f", input=gray)
    return ModelCard(**{**fields, "num_classes": 2, "parameters": 1, **changes})


"""


def model(name: str) -> str:
    """Return a module that provides one model."""
    return f'{GOOD}@hookimpl\ndef zoo_models():\n    return [card("{name}")]\n'


def hook(body: str, name: str = "zoo_models") -> str:
    """Return a module with one hook of this body."""
    return f"{GOOD}@hookimpl\ndef {name}():\n    {body}\n"


def install(
    site: Path,
    name: str,
    source: str | bytes | None,
    *,
    requires: str = "zoo-core",
    files: Mapping[str, str | bytes] = {},
) -> None:
    """Put a distribution into a folder on sys.path: `source` is its module, `files` go into its metadata folder."""
    module = name.replace("-", "_")
    if source is not None:
        content = source if isinstance(source, bytes) else dedent(source).encode()
        (site / f"{module}.py").write_bytes(content)
    folder = site / f"{module}-1.0.dist-info"
    folder.mkdir()
    metadata: dict[str, str | bytes] = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {requires}\n",
        "entry_points.txt": f"[zoo_core]\n{name} = {module}\n",
        **files,
    }
    for file, text in metadata.items():
        (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
