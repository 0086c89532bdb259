"""Options that several commands share, and the registry that they use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.console import eprint
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PrecisionOption = Annotated[
    PrecisionName,
    typer.Option("--precision", help="auto, float32 (full precision) or bfloat16.", metavar="PRECISION"),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:1.")]
WeightsOption = Annotated[str, typer.Option("--weights", help="A model's weights: pretrained, or a name on its card.")]

NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the run's directory, such as pets-v1. [default: the UTC time]")
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="A word to find the run by; may be repeated.")]
NoteOption = Annotated[str | None, typer.Option("--note", help="A remark about the run.")]


def registry(context: typer.Context) -> Registry:
    """Load the registry with the user's files: ./zoo.toml, $ZOO_REGISTRY, --registry; report what was skipped."""
    loaded = load_registry(_user_files(context.obj))
    for problem in loaded.problems:
        eprint(f"Skipped: {problem.subject}: {problem.cause}\n  Try: {problem.cure}")
    return loaded


def recipe_names(incomplete: str) -> list[str]:
    """Complete the name of a recipe."""
    return [name for name in load_registry().recipes if name.startswith(incomplete)]


def all_names(incomplete: str) -> list[str]:
    """Complete the name of anything."""
    known = load_registry()
    names = known.names() - (set() if "/" in incomplete else known.models.in_catalogues)
    catalogues = {f"{name}/" for name in known.models.catalogues}  # its models are completed after the slash
    return [name for name in sorted(names | catalogues) if name.startswith(incomplete)]


def _user_files(option: Path | None) -> list[Path]:
    local, variable = Path("zoo.toml"), os.environ.get("ZOO_REGISTRY")
    named = [Path(variable)] if variable else []
    return [*([local] if local.is_file() else []), *named, *([option] if option else [])]
