"""Draws an explanation: matplotlib pictures in one self-contained page."""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from torch import Tensor

from zoo_core.disk.atomic import atomic_write
from zoo_core.engine.explain.activations import VERTICAL, Explanation, Stage
from zoo_core.engine.models.summary import Layers
from zoo_core.errors import UsageError, printable

FILTERS, MAPS = 64, 16  # at most, per layer
COLUMNS = 16  # filters in a row
MAPS_COLOURS, IMAGE_COLOURS = "magma", "gray"  # of feature maps, and of single-channel images
STYLE = {
    "font.size": 8,
    "text.parse_math": False,
    "axes.titlesize": 9,
    "image.interpolation": "nearest",
    "savefig.dpi": 110,
}


def require_suffix(target: Path) -> Path:
    """Return the path, if it is one that `write_page` can write; raises UsageError."""
    if target.suffix.lower() not in (".html", ".png"):
        raise UsageError(
            f"{printable(str(target))} cannot be written",
            why="an explanation is a page (.html) or a picture (.png)",
            fix=f"zoo explain TARGET IMAGE -o {shlex.quote(str(target.with_suffix('.html')))}",
        )
    return target


def write_page(explanation: Explanation, layers: Layers, title: str, target: Path) -> Path:
    """Write an explanation as a page (.html) or as one picture (.png), and return its path."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        if target.suffix.lower() == ".png":
            return atomic_write(target, _png(_poster(explanation, title)))
        return atomic_write(target, _page(explanation, layers, title).encode())


def _page(explanation: Explanation, layers: Layers, title: str) -> str:
    environment = Environment(
        loader=PackageLoader("zoo_core", "runs/templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("explain.html").render(
        title=title,
        prediction=explanation.prediction,
        input=_data_uri(_images([_rgb(explanation.seen)], ["as the model sees it"], cmap=IMAGE_COLOURS)),
        input_shape=tuple(explanation.seen.shape),
        vertical=_data_uri(_images([explanation.vertical], ["after the vertical-line filter"])),
        kernel=VERTICAL,
        filters=_data_uri(_filters(explanation.filters)),
        filter_shape=tuple(explanation.filters.shape),
        shown_filters=min(FILTERS, len(explanation.filters)),
        first=explanation.first,
        stages=[(stage, _data_uri(_maps(stage)), tuple(stage.maps.shape)) for stage in explanation.stages],
        shown_maps=MAPS,
        layers=[layer for layer in layers.layers if layer.parameters],
        total=layers.parameters,
    )


def _poster(explanation: Explanation, title: str) -> Figure:
    """Return one picture of everything: the image, its vertical lines, and a row of maps for each step."""
    stages = explanation.stages
    figure = Figure(figsize=(11, 2.6 + 1.5 * len(stages)), layout="constrained")
    top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.6, 1.5 * len(stages)]).flatten()
    chosen = ", ".join(f"{label} {probability:.1%}" for label, probability in explanation.prediction.chosen)
    figure.suptitle(f"{title}: {chosen or 'none'}")
    _draw(top, [_rgb(explanation.seen), explanation.vertical], ["as the model sees it", "vertical lines"])
    rows = below.subfigures(len(stages), 1, squeeze=False).flatten()
    for row, stage in zip(rows, stages, strict=True):
        _draw(row, list(stage.maps[:COLUMNS]), [])
        row.suptitle(f"{stage.path}: {_shape(stage)}; {stage.why}", fontsize=9, ha="left", x=0.01)
    return figure


def _shape(stage: Stage) -> str:
    return " × ".join(map(str, stage.maps.shape))


def _images(pictures: Sequence[Tensor], names: Sequence[str], *, cmap: str = MAPS_COLOURS) -> Figure:
    figure = Figure(figsize=(3.2 * len(pictures), 3.4), layout="constrained")
    _draw(figure, pictures, names, cmap=cmap)
    return figure


def _filters(filters: Tensor) -> Figure:
    shown = filters[:FILTERS]
    low, high = shown.amin(dim=(1, 2, 3), keepdim=True), shown.amax(dim=(1, 2, 3), keepdim=True)
    scaled = (shown - low) / (high - low).clamp_min(1e-8)
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(9, 0.62 * rows), layout="constrained")
    _draw(figure, [_rgb(filter_) for filter_ in scaled], [], columns=COLUMNS, cmap=IMAGE_COLOURS)
    return figure


def _maps(stage: Stage) -> Figure:
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    strongest = stage.maps.flatten(1).std(dim=1, correction=0).topk(min(MAPS, len(stage.maps))).indices.sort().values
    _draw(figure, list(stage.maps[strongest]), [], columns=MAPS // 2)
    return figure


def _draw(
    figure: Figure,
    pictures: Sequence[Tensor],
    names: Sequence[str],
    *,
    columns: int | None = None,
    cmap: str = MAPS_COLOURS,
) -> None:
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, picture in zip(axes, pictures, strict=False):
        axis.imshow(picture.numpy(), cmap=None if picture.ndim == 3 else cmap)
    for axis, name in zip(axes, names, strict=False):
        axis.set_title(name, parse_math=False)


def _rgb(picture: Tensor) -> Tensor:
    """Return (H, W, 3) of a color picture (3, H, W), or (H, W) of a gray one."""
    return picture.permute(1, 2, 0) if len(picture) == 3 else picture.to(torch.float32).mean(dim=0)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _data_uri(figure: Figure) -> str:
    figure.patch.set_alpha(0)
    return "data:image/png;base64," + base64.b64encode(_png(figure)).decode()
