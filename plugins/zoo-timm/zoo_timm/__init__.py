"""timm's models, `timm/NAME`: listed from a table, so that listing imports neither timm nor torch."""

from __future__ import annotations

from zoo_core import Catalogue, hookimpl
from zoo_timm.table import table


@hookimpl
def zoo_catalogues() -> list[Catalogue]:
    """Return the catalogue."""
    return [
        Catalogue(
            name="timm",
            summary="PyTorch Image Models",
            models=frozenset(f"timm/{name}" for name in table()["models"]),
            card="zoo_timm.table:card",
        )
    ]
