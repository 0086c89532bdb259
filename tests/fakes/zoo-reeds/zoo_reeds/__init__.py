"""A plugin with one component of each kind."""

from __future__ import annotations

from zoo_core import Component, hookimpl


@hookimpl
def zoo_components() -> list[Component]:
    code, settings = "zoo_reeds.components", "zoo_reeds.settings"
    return [
        Component(
            kind="augmentation",
            name="speckle",
            summary="Brighten random pixels",
            build=f"{code}:Speckle",
            settings=f"{settings}:SpeckleSettings",
        ),
        Component(
            kind="optimizer",
            name="sign-momentum",
            summary="Steps along the sign of a running mean of gradients",
            build=f"{code}:SignMomentum",
            settings=f"{settings}:SignMomentumSettings",
        ),
        Component(
            kind="loss",
            name="focal",
            summary="Cross-entropy that gives less weight to easy images",
            build=f"{code}:focal",
            settings=f"{settings}:FocalSettings",
        ),
        Component(
            kind="metric",
            name="top2-error",
            summary="Fraction of images whose class is not among the first two",
            build=f"{code}:top2_error",
            metric_kind="fraction",
        ),
    ]
