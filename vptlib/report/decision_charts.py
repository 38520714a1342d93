"""The figure of page 1: accuracy against labelled images, with the accuracy that is needed and that of today."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from vptlib.report.charts import spread_apart
from vptlib.report.layout import figure_of
from vptlib.report.style import COLOURS, MARKERS, SOFT, is_narrow, label, styled_figure, text_colour, type_size
from vptlib.report.words import gettext as _
from vptlib.report.words import words

HEIGHT, LOW_HEIGHT, NARROW_HEIGHT = 2.6, 1.6, 2.9  # inches
BOTTOM = 0.52  # inches under the axes
MOST_LABELS = 6  # methods that are named; the others keep their line


def decision_figure(
    curves: pd.DataFrame, needed: float | None = None, today: float | None = None, low: bool = False
) -> Figure:
    """Accuracy by size: a line and a 95 % band for each method, named at its end; a point each where there is one size.

    Args:
        curves: from `vptlib.evidence.curves.learning_curves`.
        needed, today: accuracies, fractions; each a line across, where it is given.
        low: whether it shares a sheet of paper with others, so that it must not be high.
    """
    lines = {method: rows.sort_values("n") for method, rows in _side_by_side(curves).groupby("method", sort=False)}
    height = NARROW_HEIGHT if is_narrow() else LOW_HEIGHT if low else HEIGHT
    with styled_figure(height, half=True) as (fig, ax):
        for method, rows in lines.items():
            _line(ax, rows, method)
        marks = [(mark, text) for mark, text in ((needed, _("needed")), (today, _("today"))) if mark is not None]
        for mark, _text in marks:
            ax.axhline(mark, color=SOFT, linewidth=1.4, linestyle=(0, (5, 3)), zorder=1)
        _axes(ax, curves, [mark for mark, _text in marks])
        _name_lines(fig, ax, lines, marks)
    return fig


def _side_by_side(curves: pd.DataFrame) -> pd.DataFrame:
    """With one size the methods stand next to each other, or their intervals would hide each other."""
    if curves["n"].nunique() > 1:
        return curves
    steps = np.arange(len(curves)) - (len(curves) - 1) / 2
    return curves.assign(n=curves["n"] * 1.03**steps)


def _line(ax: Axes, rows: pd.DataFrame, method: str) -> None:
    n, colour = rows["n"].to_numpy(float), COLOURS[method]
    low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
    ax.plot(n, rows["mean"], color=colour, marker=MARKERS[method], markersize=7, linewidth=2, markeredgecolor="white")
    if len(rows) > 1:
        ax.fill_between(n, low, high, color=colour, alpha=0.13, linewidth=0)
    else:
        ax.plot([n[0], n[0]], [low[0], high[0]], color=colour, linewidth=2.6, solid_capstyle="round")


def _axes(ax: Axes, curves: pd.DataFrame, marks: list[float]) -> None:
    values = np.array([*curves["low"], *curves["high"], *marks], dtype=float)
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.array([0.0, 1.0])
    pad = max(0.07 * (values.max() - values.min()), 0.01)
    ax.set_ylim(values.min() - pad, values.max() + pad)
    ax.yaxis.set_major_locator(MaxNLocator(3 if figure_of(ax).get_figheight() < HEIGHT else 5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: words.per_cent(value, 0)))
    sizes = sorted({int(n) for n in curves["n"]})
    beside = max((sizes[-1] / sizes[0]) ** 0.05, 1.15)
    ax.set_xscale("log")
    ax.set_xlim(sizes[0] / beside, sizes[-1] * beside)
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sizes, _without_crowding(sizes, beside))
    ax.set_xlabel(_("Labelled images"), fontsize=type_size(10.5))
    ax.tick_params(length=0, labelsize=type_size(10.5))
    ax.grid(False, axis="x")
    sns.despine(ax=ax, left=True, bottom=True)


def _without_crowding(sizes: list[int], beside: float) -> list[str]:
    """A text for each size, "" where it would touch that of a larger one."""
    width = np.log(sizes[-1] / sizes[0] * beside**2)
    each = (0.028 if is_narrow() else 0.012) * width  # half the width of a digit
    texts, edge = [], np.inf
    for n in reversed(sizes):
        text = words.whole(n)
        half = each * (len(text) + 1)
        fits = np.log(n) + half < edge
        texts.append(text if fits else "")
        edge = np.log(n) - half if fits else edge
    return texts[::-1]


def _name_lines(fig: Figure, ax: Axes, lines: dict[str, pd.DataFrame], marks: list[tuple[float, str]]) -> None:
    """The names of methods and marks to the right of the axes, as near to where they end as their size allows."""
    ends = [(method, rows.iloc[-1]) for method, rows in lines.items() if np.isfinite(rows.iloc[-1]["mean"])]
    named = sorted(ends, key=lambda end: -end[1]["mean"])[:MOST_LABELS]
    texts = [(_named(method, row["mean"]), row["mean"], text_colour(COLOURS[method])) for method, row in named]
    texts += [(_("{value} {name}").format(value=words.per_cent(m, 0), name=text), m, SOFT) for m, text in marks]
    style: dict[str, Any] = label() | {"fontsize": type_size(10)}
    drawn = [
        ax.text(1, height, text, transform=ax.get_yaxis_transform(), va="center", color=colour, **style)
        for text, height, colour in texts
    ]
    fig.subplots_adjust(left=0.17 if is_narrow() else 0.11, bottom=BOTTOM / fig.get_figheight(), top=0.97)
    if not drawn:
        return
    boxes = [text.get_window_extent() for text in drawn]
    gap = 10 * fig.dpi / 100
    right = 1 - (max(box.width for box in boxes) + gap + 0.06 * fig.dpi) / fig.bbox.width
    fig.subplots_adjust(right=max(right, 0.45))
    per_pixel = float(np.diff(ax.get_ylim())[0]) / ax.bbox.height
    heights = [height for _text, height, _colour in texts]
    placed = spread_apart(heights, [1.1 * box.height * per_pixel for box in boxes], ax.get_ylim())
    for text, height in zip(drawn, placed, strict=True):
        text.set_position((1 + gap / ax.bbox.width, height))


def _named(method: str, accuracy: float) -> str:
    separator = "\n" if is_narrow() else "  "
    return f"{words.title(method)}{separator}{words.per_cent(accuracy)}"
