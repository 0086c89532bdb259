"""What several commands share: the registry to work with, and their common options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint
from zoo_core.recipes import PrecisionName
from zoo_core.registry.registry import Registry, load_registry, matching

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PrecisionOption = Annotated[
    PrecisionName,
    typer.Option("--precision", help="auto, float32 (full precision) or bfloat16.", metavar="PRECISION"),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:1.")]
WeightsOption = Annotated[str, typer.Option("--weights", help="A model's weights: pretrained, or a name on its card.")]


def registry(context: typer.Context) -> Registry:
    """Load the registry with the user's files: ./zoo.toml, $ZOO_REGISTRY, --registry; say what was left out."""
    loaded = load_registry(_user_files(context.obj))
    for problem in loaded.problems:
        eprint(f"Left out: {problem.subject}: {problem.cause}\n  Try: {problem.cure}")
    return loaded


def recipe_names(incomplete: str) -> list[str]:
    """Complete the name of a recipe."""
    return [name for name in load_registry().recipes if name.startswith(incomplete)]


def all_names(incomplete: str) -> list[str]:
    """Complete the name of anything."""
    known = load_registry()
    models = known.models if "/" in incomplete else [*known.models.single, *(f"{c}/" for c in known.models.catalogues)]
    return [n for n in matching({*models, *known.datasets, *known.recipes}, None) if n.startswith(incomplete)]


def _user_files(option: Path | None) -> list[Path]:
    local, variable = Path("zoo.toml"), os.environ.get("ZOO_REGISTRY")
    named = [Path(variable)] if variable else []
    return [*([local] if local.is_file() else []), *named, *([option] if option else [])]
