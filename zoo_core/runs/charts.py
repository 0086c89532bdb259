"""Draws the charts of a report: SVG that takes the page's own colour and fits its width."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK = "#010203"  # stands for the page's own colour, dark on light or light on dark
LARGEST_WITH_NUMBERS = 12  # classes of a confusion matrix that has its counts written in
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


def curves(title: str, lines: Mapping[str, Sequence[float]], *, percent: bool = False) -> Markup:
    """Draw one line for each name, from epoch 1 on."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas(title)
        for name, values in lines.items():
            axes.plot(
                range(1, len(values) + 1), [100 * v if percent else v for v in values], marker="o", ms=3, label=name
            )
        axes.set_xlabel("epoch")
        if percent:
            axes.set_ylim(top=min(101, axes.get_ylim()[1]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure, title)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """Draw what it is (rows) against what it was called (columns)."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas("is (row), and was called (column)", height=4.2)
        shares = [[count / max(1, sum(row)) for count in row] for row in counts]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(classes) <= LARGEST_WITH_NUMBERS:
            _name_ticks(axes, classes)
            for row, values in enumerate(counts):
                for column, count in enumerate(values):
                    colour = "#ffffff" if shares[row][column] > 0.5 else "#1d2330"
                    axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
        return _svg(figure, "confusion")


def calibration(bins: Sequence[tuple[float, float, int]]) -> Markup:
    """Draw how sure it was against how often it was right, for (confidence, accuracy, images) of each bin."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas("calibration", height=4.2)
        axes.plot([0, 100], [0, 100], color="#888888", lw=1, ls="--")
        most = max((images for _, _, images in bins), default=1)
        sizes = [20 + 180 * images / most for _, _, images in bins]
        axes.scatter([100 * sure for sure, _, _ in bins], [100 * right for _, right, _ in bins], s=sizes, alpha=0.7)
        axes.set_xlabel("how sure, %")
        axes.set_ylabel("how often right, %")
        axes.set(xlim=(0, 105), ylim=(0, 105))
        return _svg(figure, "calibration")


def _canvas(title: str, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, loc="left")
    return figure, axes


def _name_ticks(axes: Axes, classes: Sequence[str]) -> None:
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)


def _svg(figure: Figure, name: str) -> Markup:
    """Return the drawing without its file header, in the page's colour; `name` keeps the ids of two drawings apart."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.id": name.replace(" ", "-")}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    return Markup(drawing[drawing.index("<svg") :].replace(INK, "currentColor"))
