"""Creates a plugin skeleton: a complete distribution whose tests pass before anything is changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from zoo_core.disk.atomic import atomic_write
from zoo_core.errors import UsageError

Kind = Literal["model", "dataset", "trainer"]

TEMPLATES = Path(__file__).parent / "template"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40  # characters of a name
RESERVED = ("core",)  # zoo-core is not a plugin
SUMMARIES: Mapping[Kind, str] = MappingProxyType(
    {
        "model": "Two convolutions and a linear head for 28 × 28 gray images",
        "dataset": "Crosses, discs and squares: 28 × 28 gray pixels, drawn",
        "trainer": "Gradient descent on smoothed labels",
    }
)
MODULES: Mapping[Kind, str] = MappingProxyType({"model": "model", "dataset": "data", "trainer": "trainer"})
REQUIRES: Mapping[Kind, str] = MappingProxyType(
    {"model": "torch>=2.10", "dataset": "numpy>=1.26", "trainer": "torch>=2.10"}
)


def write_plugin(name: str, kind: Kind, out: Path) -> Path:
    """Write the distribution zoo-NAME below `out`, and return its folder.

    Args:
        name: "tiny-net" or "zoo-tiny-net".
        kind: what it provides, in addition to a recipe.
        out: parent folder of the new plugin.

    Raises:
        UsageError: the name is invalid, or the folder exists.
        ResourceError: it cannot be written.
    """
    name = _checked(name.removeprefix("zoo-"))
    folder = out / f"zoo-{name}"
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} already exists",
            why="nothing is overwritten; choose another name or parent folder",
            fix=f"zoo plugins new {name} --kind {kind} --out FOLDER",
        )
    for path, text in _rendered(name, kind):
        atomic_write(folder / path, text)
    return folder


def _checked(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > LONGEST or name in RESERVED:
        proposal = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST].strip("-")
        raise UsageError(
            f"{name!r} is not a valid plugin name",
            why=f"use at most {LONGEST} lowercase letters, digits and single hyphens, starting with a letter",
            fix=f"zoo plugins new {proposal}" if NAME.fullmatch(proposal) and proposal not in RESERVED else "",
        )
    return name


def _rendered(name: str, kind: Kind) -> Iterator[tuple[str, bytes]]:
    """Yield every file's path and content."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only `zoo plugins new` needs it

    loader = FileSystemLoader([TEMPLATES / "every", TEMPLATES / kind])
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    words = _words(name, kind)
    for path in environment.list_templates(filter_func=lambda path: "__pycache__" not in path):
        yield path.replace("package", words["package"]), environment.get_template(path).render(words).encode()


def _words(name: str, kind: Kind) -> dict[str, Any]:
    data = (TEMPLATES / "dataset" / "package" / "data" / "shapes.csv").read_bytes()
    core = ".".join(version("zoo-core").split(".")[:2])
    return {
        "name": name,
        "kind": kind,
        "distribution": f"zoo-{name}",
        "package": f"zoo_{name.replace('-', '_')}",
        "class": "".join(part.capitalize() for part in name.split("-")),
        "module": MODULES[kind],
        "summary": SUMMARIES[kind],
        "requires": (f"zoo-core>={core}", REQUIRES[kind]),
        "data_size": len(data),
        "data_sha256": hashlib.sha256(data).hexdigest(),
    }
