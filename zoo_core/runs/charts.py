"""Draws the charts of a report: SVG in the colors of the page, scaled to its width."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoo_core.errors import printable
from zoo_core.predictions import CalibrationBin

INK = "#010203"  # replaced by the page's text color, in the light and the dark theme
WIDTH = 4.6  # inches
MOST_NAMES = 60  # classes that an axis of a confusion matrix has names for
LONGEST_NAME = 18  # characters of a class name on an axis; the tables have all of it
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class named "$a_$" is not a formula
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


def best_so_far(costs: Sequence[float], best: Sequence[float], unit: str) -> Markup:
    """Draw a dot for each trial's cost, and a line for the smallest one up to it; the first trial is the default."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas("trials, and the best so far")
        axes.scatter(range(len(costs)), costs, s=8, alpha=0.5)
        axes.step(range(len(best)), best, where="post", color="C1")
        axes.axhline(costs[0], color="#888888", lw=1, ls="--")
        low, high = min(costs), 3 * costs[0] - 2 * min(costs)  # failures of the search would hide the differences
        high = max(high, low + 1e-3)
        margin = 0.05 * (high - low)
        axes.set(xlabel="trial", ylabel=unit, ylim=(low - margin, high + margin))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, "best so far")


@dataclass(frozen=True)
class TimedAccuracy:
    """A point of `accuracy_against_time`: accuracies are fractions of 1."""

    milliseconds: float
    accuracy: float
    low: float
    high: float
    marked: bool = False


def curves(
    title: str, lines: Mapping[str, Sequence[float]], *, percent: bool = False, best: int | None = None
) -> Markup:
    """Draw one line per metric, from epoch 1 on, and mark the epoch that is kept as the best."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas(title)
        epochs = max(map(len, lines.values()), default=1)
        for name, values in lines.items():
            shown = [100 * value if percent else value for value in values]
            axes.plot(range(1, len(values) + 1), shown, marker="o", ms=3, label=name)
        if best is not None:
            axes.axvline(best, color=INK, lw=1, ls=":", label=f"best epoch: {best}", zorder=0)
        axes.set_xlabel("epoch")
        if percent:
            axes.set_ylim(top=min(101, axes.get_ylim()[1]))
        if epochs == 1:
            axes.set(xlim=(0, 2), xticks=[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True)) if epochs > 1 else None
        if len(lines) > 1 or best is not None:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure, title)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], *, counted: bool = True) -> Markup:
    """Draw the confusion matrix, each row in shares of its images; `counted` writes the counts into the cells."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        named = len(classes) <= MOST_NAMES
        side = max(WIDTH, 0.17 * len(classes) + 1.2) if named else 1.5 * WIDTH
        figure, axes = _canvas("confusion matrix, by true class", width=side, height=side - 0.4)
        shares = [[count / max(1, sum(row)) for count in row] for row in counts]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="predicted", ylabel="true")
        if named:
            _name_ticks(axes, classes)
        if counted:
            _write_counts(axes, counts, shares)
        return _svg(figure, "confusion")


def calibration(bins: Sequence[CalibrationBin]) -> Markup:
    """Draw a reliability diagram: accuracy against confidence, one dot per bin, its area by the number of images."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas("reliability diagram", height=WIDTH - 0.4)
        axes.plot([0, 100], [0, 100], color="#888888", lw=1, ls="--")
        most = max((bin_.images for bin_ in bins), default=1)
        sizes = [20 + 180 * bin_.images / most for bin_ in bins]
        axes.scatter(
            [100 * bin_.confidence for bin_ in bins], [100 * bin_.accuracy for bin_ in bins], s=sizes, alpha=0.7
        )
        axes.set(xlabel="confidence, %", ylabel="accuracy, %", xlim=(0, 105), ylim=(0, 105))
        return _svg(figure, "calibration")


def accuracy_against_time(points: Sequence[TimedAccuracy]) -> Markup:
    """Draw a numbered dot for each point, with the interval of its accuracy; marked ones in another color."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = _canvas("accuracy against time per picture")
        for number, point in enumerate(points, 1):
            below, above = point.accuracy - point.low, point.high - point.accuracy
            axes.errorbar(
                point.milliseconds,
                100 * point.accuracy,
                yerr=[[100 * max(0.0, below)], [100 * max(0.0, above)]],
                fmt="o",
                ms=6,
                lw=1,
                color="C2" if point.marked else "C0",
            )
            where = (point.milliseconds, 100 * point.accuracy)
            beside = (6, 4) if number % 2 else (-12, -12)  # neighbors in rank are often neighbors in time
            axes.annotate(str(number), where, textcoords="offset points", xytext=beside, fontsize=9)
        times = [point.milliseconds for point in points]
        if min(times) > 0 and max(times) > 10 * min(times):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.15)
        axes.set(xlabel="milliseconds per picture", ylabel="accuracy, %")
        return _svg(figure, "accuracy against time")


def _canvas(title: str, *, width: float = WIDTH, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, loc="left")
    return figure, axes


def _name_ticks(axes: Axes, classes: Sequence[str]) -> None:
    names = [_shortened(printable(name)) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)


def _shortened(name: str) -> str:
    """Return the beginning and the end of a long name: similar names may differ at either."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 8]}…{name[-7:]}"


def _write_counts(axes: Axes, counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> None:
    for row, values in enumerate(counts):
        for column, count in enumerate(values):
            colour = "#ffffff" if shares[row][column] > 0.5 else "#1d2330"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)


def _svg(figure: Figure, name: str) -> Markup:
    """Return the drawing without its file header, in the page's colors; `name` keeps the ids of two drawings apart."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    text = io.StringIO()
    svg_id = "".join(letter if letter.isalnum() else "-" for letter in name)
    with mpl.rc_context({"svg.hashsalt": name, "svg.id": svg_id}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has fonts for them
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    return Markup(drawing[drawing.index("<svg") :].replace(INK, "currentColor"))
