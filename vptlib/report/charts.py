"""Figures of a report: learning curves, paired differences, costs.

Each function takes a table of `vptlib.evidence.curves` or `vptlib.evidence.decision` and gives a matplotlib figure.
The figure is closed for pyplot, so a notebook shows it once. A method keeps its colour and its marker in all figures.
Colour-blind people can distinguish the colours (Okabe & Ito). A line is labelled where it ends, not in a legend.
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy.optimize import isotonic_regression

from vptlib.report.style import (
    COLOURS,
    DPI,
    INK,
    LABEL,
    LINE,
    MARKERS,
    OPEN,
    SOFT,
    TITLES,
    WIDTH,
    styled_figure,
    styled_panels,
)
from vptlib.report.words import in_language
from vptlib.wording import duration, exact_points, per_cent, plain, points, short_points, storage

words = in_language()
NARROW = 4.9  # inches: a figure that is read at its own size on a phone too


def learning_curve_figure(curves: pd.DataFrame, title: str) -> Figure:
    """Accuracy against labelled images: a line and a 95 % band for each method, labelled where it ends.

    Args:
        curves: from `vptlib.evidence.curves.learning_curves`.
        title: above the figure, most often the task's title.
    """
    lines = {method: rows.sort_values("n") for method, rows in _apart(curves).groupby("method", sort=False)}
    with styled_figure(4.9) as (fig, ax):
        for method, rows in lines.items():
            _draw_line(ax, rows["n"], rows["mean"], rows["low"], rows["high"], method)
        _size_axis(ax, curves["n"])
        what = "Bands" if curves["n"].nunique() > 1 else "Lines"
        _per_cent_axis(ax, curves["low"].min(), curves["high"].max())
        _head(fig, ax, title, f"Accuracy on test images. {_intervals(curves['seeds'], what)}")
        ends = [rows.iloc[-1] for rows in lines.values()]
        texts = [f"{TITLES[row['method']]}  {per_cent(row['mean'])}" for row in ends]
        _label_right(fig, ax, texts, [row["mean"] for row in ends], [COLOURS[m] for m in lines], [r["n"] for r in ends])
    return fig


def difference_figure(differences: pd.DataFrame, margin: float, a: str = "vpt-deep", b: str = "full") -> Figure:
    """How far `a` is ahead of `b` at each size, with 95 % intervals, behind them the differences that do not matter.

    An interval has the colour of the method that is ahead for all of it, and is grey where either may be.

    Args:
        differences: from `vptlib.evidence.curves.paired_difference`, for the same `a` and `b`.
        margin: smallest difference in accuracy that matters, a fraction.
    """
    with styled_figure(4.2) as (fig, ax):
        ax.axhspan(-margin, margin, color=LINE, alpha=0.7, linewidth=0, zorder=0)
        ax.axhline(0, color=SOFT, linewidth=1, zorder=1)
        for _, row in differences.iterrows():
            colour = COLOURS[a] if row["low"] > 0 else COLOURS[b] if row["high"] < 0 else OPEN
            _draw_interval(ax, row["n"], row["difference"], row["low"], row["high"], colour)
        _size_axis(ax, differences["n"])
        low, high = min(differences["low"].min(), -3 * margin), max(differences["high"].max(), 3 * margin)
        ax.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        ax.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_points(value)))
        title = f"{TITLES[a]} against {words.in_prose(b)}, on the same test images"
        _head(
            fig,
            ax,
            title,
            f"Points of accuracy. {_intervals(differences['seeds'], 'Lines')} Grey: open.",
        )
        texts = [f"{TITLES[a]} ahead", f"Less than {exact_points(margin)}:\ndoes not matter", f"{TITLES[b]} ahead"]
        _label_right(fig, ax, texts, [high / 2, 0, low / 2], [COLOURS[a], SOFT, COLOURS[b]])
    return fig


def cost_figure(costs: pd.DataFrame) -> Figure:
    """What each method costs: bytes stored for each further task, and seconds of a training run.

    Args:
        costs: from `vptlib.evidence.costs.costs`.
    """
    height = 1.35 + 0.42 * len(costs)
    with styled_panels(height, columns=2) as (fig, (left, right)):
        rows = costs[::-1]
        colours = [COLOURS[method] for method in rows["method"]]
        names = [TITLES[method] for method in rows["method"]]
        _bars(left, names, rows["bytes_per_task"], colours, [storage(value) for value in rows["bytes_per_task"]])
        _bars(right, names, rows["train_seconds"], colours, [duration(value) for value in rows["train_seconds"]])
        right.set_yticklabels([])
        _panel_title(left, "Stored for each further task")
        _panel_title(right, "Time of one training run")
        _fit_names(fig, left)
    return fig


def quadrant_figure(placed: pd.DataFrame) -> Figure:
    """Tasks in the four quadrants, each in the colour of the method that was ahead.

    Args:
        placed: from `vptlib.evidence.pretraining_distance.tasks_and_pretraining`, with the column title.
    """
    middle = placed["distance"].median()
    with styled_figure(3.9) as (fig, ax):
        similar = placed["quadrant"].str.startswith("similar")
        low, high = placed["distance"].min(), placed["distance"].max()
        edge = 0.12 * max(high - low, 1e-9)
        ax.set_ylim(low - edge, high + edge)
        ax.set_xlim(0, 2)
        ax.axhline(middle, color=OPEN, linewidth=1)
        ax.axvline(1, color=OPEN, linewidth=1)
        ax.set_xticks([0.5, 1.5], ["To tell classes apart, as in pre-training", "Another objective"])
        ax.set_yticks([middle], ["median"])
        ax.grid(False)
        ax.set_ylabel("Distance from the reference images")
        for column, inside in ((0, similar), (1, ~similar)):
            _tasks_of_column(ax, column, placed[inside])
        _head(
            fig, ax, "Where the tasks lie to pre-training", "Colour: which method was ahead, with its lead in points."
        )
        fig.subplots_adjust(left=0.12, right=0.98)
    return fig


def _tasks_of_column(ax: Axes, column: int, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    low, high = ax.get_ylim()
    heights = spread_apart(rows["distance"].tolist(), [0.085 * (high - low)] * len(rows), (low, high))
    for row, height in zip(rows.itertuples(), heights, strict=True):
        colour = COLOURS["vpt-deep" if row.actual == "vpt" else "full"]
        ax.plot([column + 0.06], [row.distance], "o", color=colour, markersize=9)
        lead = f"{'VPT-deep' if row.actual == 'vpt' else 'full'} {points(abs(row.difference))}"
        short = row.title.partition(" (")[0]
        ax.text(column + 0.1, height, f"{short}: {lead}", va="center", color=colour, fontsize=10)


def input_size_figure(sizes: pd.DataFrame) -> Figure:
    """Accuracy of frozen features at each input size, with its cost; narrow, so that a phone shows it legibly.

    A size whose line reaches the dashed one is within one standard error of the best.

    Args:
        sizes: from `vptlib.study.input_size.InputSizes.table`.
    """
    with styled_figure(4.3) as (fig, ax):
        fig.set_size_inches(NARROW, fig.get_figheight())
        low, high = (sizes["accuracy"] - sizes["behind_error"]).min(), sizes["accuracy"].max()
        high = max(high, (sizes["accuracy"] + sizes["behind_error"]).max())
        ax.axhline(sizes["accuracy"].max(), color=OPEN, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        for place, row in enumerate(sizes.itertuples()):
            _draw_size(ax, place, row)
        ax.set_xlim(-0.5, len(sizes) - 0.5)
        ax.set_xticks(range(len(sizes)), [_size_and_cost(row) for row in sizes.itertuples()], linespacing=1.4)
        ax.grid(False, axis="x")
        ax.tick_params(length=0)
        sns.despine(ax=ax, left=True, bottom=True)
        room = max(high - low, 0.01)
        _per_cent_axis(ax, low, high + 0.28 * room)
        subtitle = "Of frozen features, on labelled images. Lines: one standard error of the difference from the best."
        _head(fig, ax, "Accuracy against input size", subtitle)
        fig.subplots_adjust(left=0.13, right=0.98, bottom=_inches(fig, 0.72))
    fig.set_dpi(DPI * WIDTH / NARROW)  # after pyplot has closed it, which sets back the resolution
    return fig


def _draw_size(ax: Axes, place: int, row: Any) -> None:
    top = row.accuracy + row.behind_error
    ax.plot([place, place], [row.accuracy - row.behind_error, top], color=SOFT, linewidth=2, zorder=2)
    ax.plot(place, row.accuracy, "o", color=INK if row.chosen else "white", markeredgecolor=INK, markersize=9, zorder=3)
    text = per_cent(row.accuracy) + ("\nchosen" if row.chosen else "")
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    style = {"fontsize": 11, "fontweight": "bold" if row.chosen else "normal", "bbox": behind}
    ax.annotate(text, (place, top), (0, 8), textcoords="offset points", ha="center", **style)


def _size_and_cost(row: Any) -> str:
    """Size, cost of a training step relative to the smallest, and time of the forward pass."""
    return f"{row.size} px\ncost ×{plain(row.relative_cost)}\n{duration(100 * row.seconds_per_image)}"


# ---- the frame of a figure --------------------------------------------------------------------------------------


def _head(fig: Figure, ax: Axes, title: str, subtitle: str) -> None:
    """Title and subtitle, left, above the axes; the axes make room."""
    across = fig.get_figwidth() / WIDTH
    title, subtitle = textwrap.fill(title, round(72 * across)), textwrap.fill(subtitle, round(98 * across))
    lines = subtitle.count("\n") + 1
    ax.annotate(subtitle, (0, 1), (0, 10), "axes fraction", "offset points", va="bottom", color=SOFT, fontsize=10.5)
    above = 14 + 13.5 * lines
    ax.annotate(
        title, (0, 1), (0, above), "axes fraction", "offset points", va="bottom", fontsize=13.5, fontweight="bold"
    )
    points_above = above + 18 * (title.count("\n") + 1) + 6
    fig.subplots_adjust(left=0.075, bottom=_inches(fig, 0.62), top=1 - _inches(fig, points_above / 72))


def _inches(fig: Figure, inches: float) -> float:
    """Inches as a share of the figure's height."""
    return inches / fig.get_figheight()


def _size_axis(ax: Axes, sizes: Iterable[int]) -> None:
    """A logarithmic axis of labelled images with a tick at each size, and only there."""
    sizes = sorted({int(n) for n in sizes})
    pad = max((sizes[-1] / sizes[0]) ** 0.06, 1.12)
    ax.set_xscale("log")
    ax.set_xlim(sizes[0] / pad, sizes[-1] * pad)
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sizes, _without_crowding(sizes, np.log(pad * pad * sizes[-1] / sizes[0])))
    ax.set_xlabel("Labelled images (logarithmic scale)")
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)


def _without_crowding(sizes: list[int], width: float) -> list[str]:
    """A label for each size, empty where it would touch the label of a larger one. `width`: of the axis, in log n."""
    labels, edge = [], np.inf
    for n in reversed(sizes):
        text = f"{n:,}"
        half = width * 0.008 * (len(text) + 1)
        fits = np.log(n) + half < edge
        labels.append(text if fits else "")
        edge = np.log(n) - half if fits else edge
    return labels[::-1]


def _per_cent_axis(ax: Axes, low: float, high: float) -> None:
    pad = max(0.06 * (high - low), 0.005)
    ax.set_ylim(low - pad, high + pad)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}\u202f%"))


def _intervals(seeds: pd.Series, what: str) -> str:
    """What the intervals stand for."""
    least = int(seeds.min())
    over = (
        "for the choice of test images; one seed" if least == 1 else f"for the choice of test images and {least} seeds"
    )
    return f"{what}: 95\u202f% intervals {over}."


# ---- what is drawn ----------------------------------------------------------------------------------------------


def _apart(curves: pd.DataFrame) -> pd.DataFrame:
    """Where there is one size only, the methods are set side by side, or their intervals would hide each other."""
    if curves["n"].nunique() > 1:
        return curves
    return curves.assign(n=curves["n"] * 1.015 ** (np.arange(len(curves)) - (len(curves) - 1) / 2))


def _draw_line(ax: Axes, n: pd.Series, mean: pd.Series, low: pd.Series, high: pd.Series, method: str) -> None:
    colour = COLOURS[method]
    ax.fill_between(n, low, high, color=colour, alpha=0.13, linewidth=0)
    ax.plot(n, mean, color=colour, marker=MARKERS[method], markersize=7, linewidth=2.2, markeredgecolor="white")
    if len(n) == 1:  # a band of one size has no width
        _draw_interval(ax, n.iloc[0], mean.iloc[0], low.iloc[0], high.iloc[0], colour)


def _draw_interval(ax: Axes, n: float, value: float, low: float, high: float, colour: str) -> None:
    ax.plot([n, n], [low, high], color=colour, linewidth=3, solid_capstyle="round", zorder=3)
    ax.plot([n], [value], color=colour, marker="o", markersize=9, markeredgecolor="white", zorder=4)


def _bars(ax: Axes, names: list[str], values: pd.Series, colours: list[str], texts: list[str]) -> None:
    places = np.arange(len(names))
    ax.barh(places, values, color=colours, height=0.62)
    ax.set_yticks(places, names)
    ax.set_xticks([])
    ax.set_xlim(0, 1.32 * values.max())  # room for the figures behind the bars
    ax.grid(False)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    for place, value, text in zip(places, values, texts, strict=True):
        ax.annotate(text, (value, place), (6, 0), textcoords="offset points", va="center", fontsize=11)


def _panel_title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=12, fontweight="bold", pad=8)


def _fit_names(fig: Figure, ax: Axes) -> None:
    """Room for the names of the bars, on the left."""
    widest = max(label.get_window_extent().width for label in ax.get_yticklabels())
    fig.subplots_adjust(
        left=widest / fig.bbox.width + 0.02, right=0.99, wspace=0.08, bottom=0.04, top=1 - _inches(fig, 0.5)
    )


# ---- labels that do not overlap and stay within the figure ------------------------------------------------------


def _label_right(
    fig: Figure,
    ax: Axes,
    texts: Sequence[str],
    heights: Sequence[float],
    colours: Sequence[str],
    ends: Sequence[float] | None = None,
) -> None:
    """Texts to the right of the axes, as near to their heights (in data units) as their size allows.

    Thin lines lead there from `ends`, the n at which curves stop, where given. The axes make room on their right.
    """
    labels = [
        ax.text(1, height, text, transform=ax.get_yaxis_transform(), va="center", color=colour, **LABEL)
        for text, height, colour in zip(texts, heights, colours, strict=True)
    ]
    boxes = [label.get_window_extent() for label in labels]
    gap = 26 if ends is not None else 12  # pixels between axes and labels at 100 dots an inch
    gap *= fig.dpi / 100
    fig.subplots_adjust(right=1 - (max(box.width for box in boxes) + gap + 0.12 * fig.dpi) / fig.bbox.width)
    per_pixel = np.diff(ax.get_ylim())[0] / ax.bbox.height
    placed = spread_apart(heights, [1.12 * box.height * per_pixel for box in boxes], ax.get_ylim())
    for i, label in enumerate(labels):
        label.set_position((1 + gap / ax.bbox.width, placed[i]))
        if ends is not None:
            _lead(ax, (ends[i], heights[i]), (1 + 0.8 * gap / ax.bbox.width, placed[i]), colours[i])


def _lead(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 6}
    ax.annotate("", start, end, textcoords=ax.get_yaxis_transform(), arrowprops=arrow, annotation_clip=False)


def spread_apart(places: Sequence[float], lengths: Sequence[float], bounds: tuple[float, float]) -> np.ndarray:
    """Centres for labels of the given lengths along a line: near their places, without overlap, within bounds if they
    all fit in.

    The least moved in sum of squares: labels pushed together share their displacement (isotonic regression).
    """
    order = np.argsort(places, kind="stable")
    wanted, sizes = np.asarray(places, dtype=float)[order], np.asarray(lengths, dtype=float)[order]
    offsets = np.concatenate([[0.0], np.cumsum((sizes[1:] + sizes[:-1]) / 2)])  # of each centre from the first
    firsts = isotonic_regression(wanted - offsets).x
    lowest, highest = bounds[0] + sizes[0] / 2, bounds[1] - sizes[-1] / 2 - offsets[-1]
    centres = np.clip(firsts, lowest, max(lowest, highest)) + offsets
    placed = np.empty_like(centres)
    placed[order] = centres
    return placed
