"""Makes cards from the rows of models.json, which scripts/make_table.py writes from an installed timm."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from zoo_core import HubFile, ImageInput, ModelCard, WeightsCard


@cache
def table() -> dict[str, Any]:
    """Return the table: "timm" (the version it was made from), "inputs", and "models" by timm's name."""
    content: dict[str, Any] = json.loads(files("zoo_timm").joinpath("models.json").read_bytes())
    return content


def card(name: str) -> ModelCard:
    """Return the card of `timm/NAME`. Its parameters were counted when the table was made.

    Raises:
        KeyError: the table has no such model.
    """
    model = name.removeprefix("timm/")
    row = table()["models"][model]
    repository = row.get("repo", name)
    return ModelCard(
        name=name,
        summary=_summary(row),
        license=row["license"],
        source=f"timm {table()['timm']}, https://huggingface.co/{repository}",
        builder="zoo_timm.model:build",
        fixed={"model": model},
        input=ImageInput(**table()["inputs"][row["input"]]),
        num_classes=row["num_classes"],
        head=row["head"],
        parameters=row["parameters"],
        weights=(_weights(row, repository),),
    )


def _weights(row: dict[str, Any], repository: str) -> WeightsCard:
    """Weights without class names count as a backbone; their head, if any, is ignored."""
    return WeightsCard(
        name="hub",
        covers="all" if "labels" in row else "backbone",
        file=HubFile(repo=repository),
        convert="zoo_timm.model:convert",
        classes=f"zoo_timm.labels:{row['labels']}" if "labels" in row else None,
        license=row["license"],
        provenance=f"https://huggingface.co/{repository}",
    )


def _summary(row: dict[str, Any]) -> str:
    size = table()["inputs"][row["input"]]["size"]
    predicts = f"{row['num_classes']:,} classes of ImageNet" if "labels" in row else "a backbone"
    return f"{predicts}, {size} × {size} pixels"
