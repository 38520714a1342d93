"""Figures of what a method gets wrong: confusion matrix, reliability, answers by itself, misses against false alarms.

Most are half as wide as a page, so that two stand beside each other. Each takes a table of `vptlib.evidence.certainty`
or `vptlib.evidence.mistakes`. Names of classes are wrapped or shortened, never cut by the edge of the figure.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vptlib.report.fonts import width_of, wrapped
from vptlib.report.layout import DASHED, EDGE, fit, head, per_cent_text, plain_axes
from vptlib.report.style import (
    CELL,
    COLOURS,
    INK,
    OPEN,
    PAPER,
    SOFT,
    figure_width,
    is_narrow,
    styled_figure,
    type_size,
)
from vptlib.report.words import gettext as _
from vptlib.report.words import words

MOST_CLASSES = 12  # of a confusion matrix that can still be read
_MOST_NARROW = 5  # of one on a narrow screen; of more classes the commonest mistakes are shown
_MOST_PAIRS = 8


# ---- which class is called which ----------------------------------------------------------------------------------


def confusion_figure(counts: np.ndarray, class_names: Sequence[str], trainings: int) -> Figure:
    """How many images of each class (rows) were called what (columns); shades are shares of the row.

    Where a narrow screen, or any screen, has no room for so many classes, the commonest mistakes, a row each.

    Args:
        counts: `C C` from `vptlib.evidence.mistakes.confusion`.
        class_names: C names.
        trainings: how many the counts are the sum of.
    """
    if len(class_names) > (_MOST_NARROW if is_narrow() else MOST_CLASSES):
        return _commonest_mistakes(counts, class_names, trainings)
    return _matrix(counts, class_names, trainings)


def _per(trainings: int) -> str:
    if trainings == 1:
        return _("Numbers: images.")
    return _("Numbers: images, mean of {n} trainings.").format(n=trainings)


def _matrix(counts: np.ndarray, class_names: Sequence[str], trainings: int) -> Figure:
    classes = len(class_names)
    half = classes <= 6
    inches, size = (0.72 if is_narrow() else 1.15 if half else 1.9), type_size(9.6)
    names = [wrapped(name, inches, size, lines=2 if half else 1) for name in class_names]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with styled_figure(3.5 if is_narrow() else 4.4 if half else 6.2, half) as (fig, ax):
        ax.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5))
        for row, column in zip(*np.nonzero(counts), strict=True):
            share = float(shares[row, column])
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=CELL, alpha=share, linewidth=0))
            text = _short_number(float(counts[row, column]) / trainings)
            ax.text(column, row, text, ha="center", va="center", fontsize=type_size(10.5))
        ax.set_yticks(range(classes), names, fontsize=size)
        ax.set_xticks(range(classes), names, fontsize=size)
        across = (figure_width(half) - 1.5 * inches) / classes
        if max(width_of(line, size) for name in names for line in name.split("\n")) > 0.9 * across:
            ax.tick_params(axis="x", labelrotation=90)
        ax.set_ylabel(_("It is"), fontweight="bold", fontsize=type_size(11))
        ax.set_xlabel(_("It was called"), fontweight="bold", fontsize=type_size(11))
        plain_axes(ax, "none")
        says = words.sentences(_per(trainings), _("Shade: share of the row."))
        fit(fig, head(ax, _("Which class is called which"), says))
    return fig


def _commonest_mistakes(counts: np.ndarray, class_names: Sequence[str], trainings: int) -> Figure:
    """The most frequent mistakes, a bar each, the share of the class across; its name above the bar."""
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    places = [divmod(int(place), len(counts)) for place in order]
    pairs = [(row, column) for row, column in places if wrong[row, column]]
    size, totals = type_size(10), np.maximum(counts.sum(axis=1), 1)
    names = [_mistake(class_names[row], class_names[column], size) for row, column in pairs]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    shares = [wrong[row, column] / totals[row] for row, column in pairs]
    with styled_figure(1.2 + (0.4 + 0.16 * lines) * max(len(pairs), 1), half=True) as (fig, ax):
        at: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": size}
        above = at | {"xytext": (0, 0), "va": "bottom", "linespacing": 1.15}
        for place, ((row, column), share, name) in enumerate(zip(pairs, shares, names, strict=True)):
            ax.barh(place, share, height=0.32, color=CELL)
            value = _("{n} of {all}").format(
                n=_short_number(float(wrong[row, column]) / trainings),
                all=_short_number(float(totals[row]) / trainings),
            )
            ax.annotate(value, (share, place), color=SOFT, **at)
            ax.annotate(name, (0, place - 0.2), **above)
        ax.set_yticks([])
        ax.set_xticks([])
        ax.set_ylim(max(len(pairs), 1) - 0.7, -0.85)
        ax.set_xlim(0, 1.45 * max(shares, default=1.0))
        plain_axes(ax, "none")
        says = (
            words.sentences(_("What it is → what it was called."), _per(trainings))
            if pairs
            else _("No image is wrong.")
        )
        fit(fig, head(ax, _("The commonest mistakes"), says))
    return fig


def _mistake(truth: str, prediction: str, size: float) -> str:
    """ "scratch → dent"; on two lines where both do not fit on one."""
    inches = figure_width(half=True) - 2 * EDGE - 0.1
    one = f"{truth} → {prediction}"
    if width_of(one, size) <= inches:
        return one
    return f"{wrapped(truth, inches, size, lines=1)}\n{wrapped(f'→ {prediction}', inches, size, lines=1)}"


def short_name(name: str, letters: int = 17, lines: int = 2) -> str:
    """A class name on at most so many lines of so many letters; a longer one is shortened in its middle."""
    longest = letters * lines
    if len(name) > longest:
        half = (longest - 1) // 2
        name = f"{name[:half].rstrip()}…{name[-half:].lstrip()}"
    if len(name) <= letters:
        return name
    lined = textwrap.wrap(name, letters, break_on_hyphens=True)
    return "\n".join(lined if len(lined) <= lines else (name[:letters], name[letters:]))


def _short_number(value: float) -> str:
    """At most three figures: 2.33 → "2.3", 31.3 → "31", 1240 → "1.2k"."""
    if value >= 1000:
        return f"{value / 1000:.2g}k" if value < 99_500 else f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value >= 10 else words.plain(value)


# ---- how sure it is -----------------------------------------------------------------------------------------------


def reliability_figure(bins: pd.DataFrame, method: str) -> Figure:
    """How often answers are right, against how sure the model was; perfect probabilities lie on the dashed line.

    Args:
        bins: of `vptlib.evidence.certainty.Calibration`.
        method: whose colour it has.
    """
    with styled_figure(_height(), half=True) as (fig, ax):
        low = min(bins["confidence"].min(), bins["low"].min())
        ax.plot([0, 1], [0, 1], color=OPEN, linewidth=1.2, linestyle=DASHED, zorder=1)
        for row in bins.itertuples():
            ax.plot([row.confidence] * 2, [row.low, row.high], color=COLOURS[method], linewidth=2, zorder=2)
        ax.plot(bins["confidence"], bins["accuracy"], "o", color=COLOURS[method], markeredgecolor=PAPER, markersize=8)
        _share_axes(ax, (low, 1.0), (low, 1.0))
        _name_axes(ax, _("How sure the model was (mean probability)"), _("How many answers were right"))
        title = _("Can the probabilities of {method} be trusted?").format(method=words.title(method))
        fit(fig, head(ax, title, _("Lines: 95\u202f% intervals.")))
    return fig


def selective_figure(curve: pd.DataFrame, method: str) -> Figure:
    """How many of the surest answers are right, against how many of all are answered.

    Args:
        curve: from `vptlib.evidence.certainty.selective_curve`.
        method: whose colour it has.
    """
    with styled_figure(_height(), half=True) as (fig, ax):
        _band(ax, curve["share"], curve["accuracy"], curve["low"], curve["high"], COLOURS[method])
        _share_axes(ax, (0.0, 1.0), (curve["low"].min(), 1.0))
        _name_axes(ax, _("Share of the images that the model answers by itself"), _("How many of these are right"))
        says = words.sentences(
            _("The surest answers come first."),
            _("Of all images {share} are right.").format(share=words.per_cent(curve["accuracy"].iloc[-1])),
            _("Band: 95\u202f% interval."),
        )
        fit(fig, head(ax, _("What the model may answer by itself"), says))
    return fig


def operating_figure(
    curve: pd.DataFrame, method: str, names: str, point: tuple[float, float] | None = None, wanted: float | None = None
) -> Figure:
    """Missed defects against other images that are stopped, for all thresholds.

    Args:
        curve: from `vptlib.evidence.certainty.operating_curve`.
        method: whose colour it has.
        names: of the defects, as the title has them.
        point: false alarms and misses of the threshold that was chosen, or None.
        wanted: share of misses that is the limit, or None.
    """
    with styled_figure(_height(), half=True) as (fig, ax):
        _band(ax, curve["false_alarms"], curve["misses"], curve["low"], curve["high"], COLOURS[method])
        if wanted is not None:
            ax.axhline(wanted, color=SOFT, linewidth=1.2, linestyle=DASHED, zorder=1)
            limit = _("limit {share}").format(share=per_cent_text(wanted))
            _note(ax, limit, (1, wanted), 4, color=SOFT, fontsize=type_size(10))
        if point is not None:
            ax.plot(*point, "o", color=INK, markersize=9, markeredgecolor=PAPER, zorder=4, clip_on=False)
        top = max(curve["high"].max(), 0.05, 1.1 * (wanted or 0.0), point[1] if point else 0.0)  # nothing lies outside
        _share_axes(ax, (0.0, 1.0), (0.0, min(top, 1.0)))
        _name_axes(ax, _("False alarms: other images that are stopped"), _("Misses"))
        dot = _("Dot: the threshold chosen.") if point is not None else ""
        title = _("Misses of {names} against false alarms").format(names=names)
        fit(fig, head(ax, title, words.sentences(_("Band: 95\u202f% interval."), dot)))
    return fig


def _height() -> float:
    return 3.4 if is_narrow() else 4.2


def _band(ax: Axes, x: pd.Series, middle: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> None:
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.plot(x, middle, color=colour, linewidth=2.2)


def _share_axes(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Both axes in per cent, with a little room at the ends."""
    for axis, set_limits, (low, high) in ((ax.xaxis, ax.set_xlim, x), (ax.yaxis, ax.set_ylim, y)):
        pad = max(0.03 * (high - low), 0.004)
        set_limits(low - pad, high + pad)
        axis.set_major_locator(MaxNLocator(4 if is_narrow() else 6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _at: per_cent_text(value)))
    ax.tick_params(labelsize=type_size(10))
    plain_axes(ax)


def _name_axes(ax: Axes, across: str, upwards: str) -> None:
    size = type_size(10.5)
    ax.set_xlabel(wrapped(across, figure_width(half=True) - 0.9, size), fontsize=size)
    ax.set_ylabel(wrapped(upwards, _height() - 1.5, size), fontsize=size)


def _note(ax: Axes, text: str, at: tuple[float, float], up: float, **style: Any) -> None:
    """A text that ends at a place, so many points above it (or below); paper behind it."""
    behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    side = "bottom" if up > 0 else "top"
    ax.annotate(text, at, (-2, up), textcoords="offset points", ha="right", va=side, bbox=behind, **style)
