"""Figures of a report: learning curves, paired differences, costs.

Each function takes a table of `vptlib.evidence.curves` or `vptlib.evidence.decision` and gives a matplotlib figure, in
the language that is spoken and for the screen of `vptlib.report.style.drawn_at`. The figure is closed for pyplot, so a
notebook shows it once. A method keeps its colour and its marker in all figures. Colour-blind people can distinguish the
colours (Okabe & Ito). A line is labelled where it ends, not in a legend.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vptlib.report.fonts import width_of, wrapped
from vptlib.report.layout import (
    DASHED,
    fit,
    head,
    in_lines,
    label_right,
    label_width,
    panel_head,
    per_cent_axis,
    plain_axes,
    size_axis,
    spread_apart,
    thin_out,
)
from vptlib.report.style import (
    COLOURS,
    INK,
    LINE,
    MARKERS,
    OPEN,
    PAPER,
    SOFT,
    figure_width,
    is_narrow,
    styled_figure,
    styled_panels,
    text_colour,
    type_size,
)
from vptlib.report.words import gettext as _
from vptlib.report.words import words

__all__ = [
    "cost_figure",
    "difference_figure",
    "input_size_figure",
    "learning_curve_figure",
    "quadrant_figure",
    "spread_apart",
]


# ---- accuracy against images ------------------------------------------------------------------------------------


def learning_curve_figure(curves: pd.DataFrame, title: str) -> Figure:
    """Accuracy against labelled images: a line and a 95 % band for each method, labelled where it ends.

    Args:
        curves: from `vptlib.evidence.curves.learning_curves`.
        title: above the figure, most often the task's title.
    """
    lines = {method: rows.sort_values("n") for method, rows in _apart(curves).groupby("method", sort=False)}
    ends = [rows.iloc[-1] for rows in lines.values()]
    texts = [_end_of_line(row["method"], row["mean"]) for row in ends]
    needed = 1.9 + 0.17 * sum(text.count("\n") + 1 for text in texts)  # inches, for heads and labels
    with styled_figure(max(3.6 if is_narrow() else 4.9, needed)) as (fig, ax):
        for method, rows in lines.items():
            _draw_line(ax, rows["n"], rows["mean"], rows["low"], rows["high"], method)
        size_axis(ax, curves["n"])
        per_cent_axis(ax, curves["low"].min(), curves["high"].max())
        says = words.sentences(_("Accuracy on test images."), _of_bands(curves))
        fit(fig, head(ax, title, says), right=label_width(texts))
        thin_out(ax)
        label_right(ax, texts, [row["mean"] for row in ends], [COLOURS[m] for m in lines], [row["n"] for row in ends])
    return fig


def _end_of_line(method: str, accuracy: float) -> str:
    """ "VPT-deep  84.2 %", on a narrow figure on two lines or more."""
    name, value = words.title(method), words.per_cent(accuracy)
    return f"{in_lines(name)}\n{value}" if is_narrow() else f"{name}  {value}"


def _of_bands(curves: pd.DataFrame) -> str:
    """What the bands of curves stand for; methods at one size have lines in their place."""
    if curves["n"].nunique() == 1:
        return _of_lines(curves)
    if curves["seeds"].max() == 1:
        return _("Bands: 95\u202f% intervals for the choice of test images; one seed.")
    return _("Bands: 95\u202f% intervals for the choice of test images and {n} seeds.").format(n=_seeds(curves))


def _of_lines(found: pd.DataFrame) -> str:
    if found["seeds"].max() == 1:
        return _("Lines: 95\u202f% intervals for the choice of test images; one seed.")
    return _("Lines: 95\u202f% intervals for the choice of test images and {n} seeds.").format(n=_seeds(found))


def _seeds(found: pd.DataFrame) -> str:
    """How many seeds stand behind the points, such as "3", or "1 to 3" where they differ."""
    fewest, most = (words.whole(int(number)) for number in (found["seeds"].min(), found["seeds"].max()))
    return fewest if fewest == most else words.span(fewest, most)


def difference_figure(differences: pd.DataFrame, margin: float, a: str = "vpt-deep", b: str = "full") -> Figure:
    """How far `a` is ahead of `b` at each size, with 95 % intervals, behind them the differences that do not matter.

    An interval has the colour of the method that is ahead for all of it, and is grey where either may be.

    Args:
        differences: from `vptlib.evidence.curves.paired_difference`, for the same `a` and `b`.
        margin: smallest difference in accuracy that matters, a fraction.
    """
    does_not_matter = _("Less than {points}: does not matter").format(points=words.exact_points(margin))
    texts = [
        in_lines(_("{method} ahead").format(method=words.title(a))),
        in_lines(does_not_matter) if is_narrow() else wrapped(does_not_matter, 1.5, type_size(11.5), bold=True),
        in_lines(_("{method} ahead").format(method=words.title(b))),
    ]
    with styled_figure(3.7 if is_narrow() else 4.2) as (fig, ax):
        ax.axhspan(-margin, margin, color=LINE, alpha=0.7, linewidth=0, zorder=0)
        ax.axhline(0, color=SOFT, linewidth=1, zorder=1)
        for row in differences.itertuples():
            colour = COLOURS[a] if row.low > 0 else COLOURS[b] if row.high < 0 else OPEN
            _draw_interval(ax, row.n, row.difference, row.low, row.high, colour)
        size_axis(ax, differences["n"])
        low, high = min(differences["low"].min(), -3 * margin), max(differences["high"].max(), 3 * margin)
        ax.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        ax.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: words.short_points(value)))
        title = _("{one} against {other}, on the same test images").format(one=words.title(a), other=words.in_prose(b))
        lines = _of_lines(differences)
        heads = head(ax, title, words.sentences(_("Points of accuracy."), lines, _("Grey: open.")))
        fit(fig, heads, right=label_width(texts))
        thin_out(ax)
        label_right(ax, texts, [high / 2, 0, low / 2], [COLOURS[a], SOFT, COLOURS[b]])
    return fig


def _apart(curves: pd.DataFrame) -> pd.DataFrame:
    """Where there is one size only, the methods are set side by side, or their intervals would hide each other."""
    if curves["n"].nunique() > 1:
        return curves
    return curves.assign(n=curves["n"] * 1.015 ** (np.arange(len(curves)) - (len(curves) - 1) / 2))


def _draw_line(ax: Axes, n: pd.Series, mean: pd.Series, low: pd.Series, high: pd.Series, method: str) -> None:
    colour, size = COLOURS[method], 5.5 if is_narrow() else 7
    ax.fill_between(n, low, high, color=colour, alpha=0.13, linewidth=0)
    ax.plot(n, mean, color=colour, marker=MARKERS[method], markersize=size, linewidth=2.2, markeredgecolor=PAPER)
    if len(n) == 1:  # a band of one size has no width
        _draw_interval(ax, n.iloc[0], mean.iloc[0], low.iloc[0], high.iloc[0], colour)


def _draw_interval(ax: Axes, n: float, value: float, low: float, high: float, colour: str) -> None:
    ax.plot([n, n], [low, high], color=colour, linewidth=3, solid_capstyle="round", zorder=3)
    ax.plot([n], [value], color=colour, marker="o", markersize=9, markeredgecolor=PAPER, zorder=4)


# ---- costs --------------------------------------------------------------------------------------------------------


def cost_figure(costs: pd.DataFrame) -> Figure:
    """What each method costs: bytes stored for each further task, and seconds of a training run.

    Args:
        costs: from `vptlib.evidence.costs.costs`.
    """
    rows = costs[::-1]
    colours = [COLOURS[method] for method in rows["method"]]
    names = [wrapped(words.title(method), 1.15 if is_narrow() else 1.9, type_size(11)) for method in rows["method"]]
    lines = sum(name.count("\n") + 1 for name in names)
    with styled_panels(0.75 + 0.28 * max(lines, len(names)) + 0.1 * len(names), columns=2) as (fig, (first, second)):
        _bars(first, names, rows["bytes_per_task"], colours, [words.storage(v) for v in rows["bytes_per_task"]])
        _bars(second, names, rows["train_seconds"], colours, [words.duration(v) for v in rows["train_seconds"]])
        if not is_narrow():
            second.set_yticklabels([])
        heads = panel_head(first, _("Stored for each further task")) + panel_head(second, _("Time of one training run"))
        fit(fig, heads)
    return fig


def _bars(ax: Axes, names: list[str], values: pd.Series, colours: list[str], texts: list[str]) -> None:
    places, size = np.arange(len(names)), type_size(11)
    ax.barh(places, values, color=colours, height=0.62)
    ax.set_yticks(places, names, fontsize=size)
    ax.set_xticks([])
    inches = figure_width() / (1 if is_narrow() else 2) - max(width_of(n, size) for t in names for n in t.split("\n"))
    room = max(width_of(text, size) for text in texts) + 0.12
    ax.set_xlim(0, values.max() / max(1 - room / inches, 0.3))  # room for the figures behind the bars
    plain_axes(ax, "none")
    for place, value, text in zip(places, values, texts, strict=True):
        ax.annotate(text, (value, place), (5, 0), textcoords="offset points", va="center", fontsize=size)


# ---- tasks and pre-training ---------------------------------------------------------------------------------------


def quadrant_figure(placed: pd.DataFrame) -> Figure:
    """Tasks in the four quadrants, each in the colour of the method that was ahead; on narrow screens in two lists.

    Args:
        placed: from `vptlib.evidence.pretraining_distance.tasks_and_pretraining`, with the column title.
    """
    similar = placed["quadrant"].str.startswith("similar")
    groups = [
        (_("To tell classes apart, as in pre-training"), placed[similar]),
        (_("Another objective"), placed[~similar]),
    ]
    return _two_lists(placed, groups) if is_narrow() else _four_quadrants(placed, groups)


def _four_quadrants(placed: pd.DataFrame, groups: list[tuple[str, pd.DataFrame]]) -> Figure:
    middle = placed["distance"].median()
    with styled_figure(3.9) as (fig, ax):
        low, high = placed["distance"].min(), placed["distance"].max()
        edge = 0.12 * max(high - low, 1e-9)
        ax.set_ylim(low - edge, high + edge)
        ax.set_xlim(0, 2)
        ax.axhline(middle, color=OPEN, linewidth=1)
        ax.axvline(1, color=OPEN, linewidth=1)
        ax.set_xticks([0.5, 1.5], [name for name, _rows in groups])
        ax.set_yticks([middle], [_("median")])
        ax.grid(False)
        ax.set_ylabel(_("Distance from the reference images"))
        for column, (_name, rows) in enumerate(groups):
            _tasks_of_column(ax, column, rows)
        fit(fig, head(ax, *_said_of_quadrants()))
    return fig


def _said_of_quadrants() -> tuple[str, str]:
    return _("Where the tasks lie to pre-training"), _("Colour: which method was ahead, with its lead in points.")


def _tasks_of_column(ax: Axes, column: int, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    low, high = ax.get_ylim()
    heights = spread_apart(rows["distance"].tolist(), [0.085 * (high - low)] * len(rows), (low, high))
    for row, height in zip(rows.itertuples(), heights, strict=True):
        method = _ahead(row)
        ax.plot([column + 0.06], [row.distance], MARKERS[method], color=COLOURS[method], markersize=8)
        ax.text(
            column + 0.1, height, f"{_short_title(row)}: {_lead_of(row)}", va="center",
            color=text_colour(COLOURS[method]), fontsize=type_size(10),
        )  # fmt: skip


def _ahead(row: Any) -> str:
    return "vpt-deep" if row.actual == "vpt" else "full"


def _lead_of(row: Any) -> str:
    """ "VPT-deep +2.3"; full fine-tuning is short for its place."""
    name = words.title("vpt-deep") if row.actual == "vpt" else _("full")
    return f"{name} {words.points(abs(row.difference))}"


def _short_title(row: Any) -> str:
    return str(row.title).partition(" (")[0]


def _two_lists(placed: pd.DataFrame, groups: list[tuple[str, pd.DataFrame]]) -> Figure:
    """Each group a panel, each task a row: its distance across, its name above, its lead in colour."""
    title, subtitle = _said_of_quadrants()
    shown = [(name, rows.sort_values("distance")) for name, rows in groups if len(rows)]
    rows_high = max(len(rows) for _name, rows in shown)
    with styled_panels(1.35 + 0.42 * rows_high, len(shown)) as (fig, panels):
        heads = []
        for k, (ax, (name, rows)) in enumerate(zip(panels, shown, strict=True)):
            heads += head(ax, title, words.sentences(subtitle, f"{name}:")) if k == 0 else head(ax, "", f"{name}:")
            _task_rows(ax, rows, placed)
        about = _("Distance from the reference images; line: the median")
        panels[-1].set_xlabel(wrapped(about, figure_width() - 0.3, type_size(10)), fontsize=type_size(10))
        fit(fig, heads)
    return fig


def _task_rows(ax: Axes, rows: pd.DataFrame, placed: pd.DataFrame) -> None:
    ax.axvline(placed["distance"].median(), color=OPEN, linewidth=1)
    ax.set_xlim(0, 1.08 * placed["distance"].max())
    ax.set_ylim(len(rows) - 0.3, -0.75)
    for place, row in enumerate(rows.itertuples()):
        method = _ahead(row)
        ax.plot([row.distance], [place + 0.12], MARKERS[method], color=COLOURS[method], markersize=6)
        name = wrapped(f"{_short_title(row)}: {_lead_of(row)}", 2.8, type_size(10), lines=1)
        colour = text_colour(COLOURS[method])
        ax.text(0, place - 0.3, name, va="center", color=colour, fontsize=type_size(10), clip_on=False)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(4))
    plain_axes(ax, "none")


# ---- input size ---------------------------------------------------------------------------------------------------


def input_size_figure(sizes: pd.DataFrame) -> Figure:
    """Accuracy of frozen features at each input size, a row each, with its cost.

    A size whose line reaches the dashed one is within one standard error of the best.

    Args:
        sizes: from `vptlib.study.input_size.InputSizes.table`.
    """
    with styled_figure(1.35 + 0.5 * len(sizes), half=True) as (fig, ax):
        ends = pd.concat([sizes["accuracy"] - sizes["behind_error"], sizes["accuracy"] + sizes["behind_error"]])
        ax.axvline(sizes["accuracy"].max(), color=OPEN, linewidth=1.2, linestyle=DASHED, zorder=1)
        for place, row in enumerate(sizes.itertuples()):
            _draw_size(ax, place, row)
        size = type_size(10)
        ax.set_yticks(range(len(sizes)), [_size_and_cost(row) for row in sizes.itertuples()], fontsize=size)
        ax.set_ylim(len(sizes) - 0.5, -0.6)
        low, high = ends.min(), ends.max()
        pad = max(0.06 * (high - low), 0.005)
        ax.set_xlim(low - pad, high + pad)
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _at: words.per_cent(value, 0 if high - low > 0.04 else 1))
        )
        plain_axes(ax, "x")
        says = _("Of frozen features, on labelled images. Lines: one standard error of the difference from the best.")
        texts = [_accuracy_of(row) for row in sizes.itertuples()]
        fit(fig, head(ax, _("Accuracy against input size"), says), right=label_width(texts) - 0.2)
        thin_out(ax)
        for place, (row, text) in enumerate(zip(sizes.itertuples(), texts, strict=True)):
            weight = "bold" if row.chosen else "normal"
            ax.annotate(
                text, (1, place), (6, 0), ax.get_yaxis_transform(), "offset points", va="center",
                fontsize=type_size(11), fontweight=weight, annotation_clip=False,
            )  # fmt: skip
    return fig


def _draw_size(ax: Axes, place: int, row: Any) -> None:
    ends = [row.accuracy - row.behind_error, row.accuracy + row.behind_error]
    ax.plot(ends, [place, place], color=SOFT, linewidth=2, zorder=2)
    ax.plot(row.accuracy, place, "o", color=INK if row.chosen else PAPER, markeredgecolor=INK, markersize=8, zorder=3)


def _accuracy_of(row: Any) -> str:
    accuracy, chosen = words.per_cent(row.accuracy), _("chosen")
    return f"{accuracy}\n{chosen}" if row.chosen else accuracy


def _size_and_cost(row: Any) -> str:
    """Size, cost of a training step relative to the smallest, and time of the forward pass."""
    cost = _("cost ×{times}, {time}").format(
        times=words.plain(row.relative_cost), time=words.duration(100 * row.seconds_per_image)
    )
    return f"{row.size} px\n{cost}"
