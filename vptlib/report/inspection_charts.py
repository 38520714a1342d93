"""Figures of what a method gets wrong: confusion matrix, reliability, answers by itself, misses against false alarms.

They are narrow, so that a phone shows them at their own size. Each takes a table of `vptlib.evidence.certainty` or
`vptlib.evidence.mistakes`. Names of classes are wrapped or shortened, never cut by the edge of the figure.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vptlib.report.style import COLOURS, DPI, INK, OPEN, SOFT, TITLES, WIDTH, styled_figure
from vptlib.wording import per_cent, plain

NARROW, _EDGE = 4.9, 0.12  # inches
MOST_CLASSES = 12  # of a confusion matrix that can still be read
# Letters and lines of a class name, where there are few classes and where there are more.
_FEW_CLASSES, _TWO_LINES, _ONE_LINE = 7, (17, 2), (16, 1)


def confusion_figure(counts: np.ndarray, class_names: Sequence[str], trainings: int) -> Figure:
    """How many images of each class (rows) were called what (columns); shades are shares of the row.

    Args:
        counts: `C C` from `vptlib.evidence.mistakes.confusion`.
        class_names: C names.
        trainings: how many the counts are the sum of.
    """
    classes = len(class_names)
    names = [short_name(name, *(_TWO_LINES if classes <= _FEW_CLASSES else _ONE_LINE)) for name in class_names]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _narrow(NARROW + 0.5) as (fig, ax):
        ax.imshow(shares, cmap=colormaps["Blues"], vmin=0, vmax=1, aspect="auto")
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            text = _short_number(float(counts[row, column]) / trainings)
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=11 if classes <= 6 else 9.4)
        ax.set_yticks(range(classes), names, fontsize=9.5)
        ax.set_xticks(range(classes), names, fontsize=9.5)
        ax.tick_params(axis="x", labelrotation=90)
        ax.set_ylabel("It is", fontweight="bold")
        ax.set_xlabel("It was called", fontweight="bold")
        ax.grid(False)
        ax.tick_params(length=0)
        sns.despine(ax=ax, left=True, bottom=True)
        per = "images" if trainings == 1 else f"images, mean of {trainings} trainings"
        _title(ax, "Which class is called which", f"Numbers: {per}. Shade: share of the row.")
        _fit(fig, ax)
    return _sharp(fig)


def reliability_figure(bins: pd.DataFrame, method: str) -> Figure:
    """How often answers are right, against how sure the model was; perfect probabilities lie on the dashed line.

    Args:
        bins: of `vptlib.evidence.certainty.Calibration`.
        method: whose colour it has.
    """
    with _narrow(4.3) as (fig, ax):
        low = min(bins["confidence"].min(), bins["low"].min())
        ax.plot([0, 1], [0, 1], color=OPEN, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        for row in bins.itertuples():
            ax.plot([row.confidence] * 2, [row.low, row.high], color=COLOURS[method], linewidth=2, zorder=2)
        ax.plot(bins["confidence"], bins["accuracy"], "o", color=COLOURS[method], markeredgecolor="white", markersize=8)
        _share_axes(ax, (low, 1.0), (low, 1.0))
        ax.set_xlabel("How sure the model was (mean probability)")
        ax.set_ylabel("How many answers were right")
        _title(ax, f"Can the probabilities of {TITLES[method]} be trusted?", "Lines: 95\u202f% intervals.")
        _fit(fig, ax)
    return _sharp(fig)


def selective_figure(curve: pd.DataFrame, method: str) -> Figure:
    """How many of the surest answers are right, against how many of all are answered.

    Args:
        curve: from `vptlib.evidence.certainty.selective_curve`.
        method: whose colour it has.
    """
    with _narrow(4.3) as (fig, ax):
        _band(ax, curve["share"], curve["accuracy"], curve["low"], curve["high"], COLOURS[method])
        _share_axes(ax, (0.0, 1.0), (curve["low"].min(), 1.0))
        ax.set_xlabel("Share of the images that the model answers by itself")
        ax.set_ylabel("How many of these are right")
        of_all = f"Of all images {per_cent(curve['accuracy'].iloc[-1])} are right. Band: 95\u202f% interval."
        _title(ax, "What the model may answer by itself", f"The surest answers come first. {of_all}")
        _fit(fig, ax)
    return _sharp(fig)


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
    with _narrow(4.3) as (fig, ax):
        _band(ax, curve["false_alarms"], curve["misses"], curve["low"], curve["high"], COLOURS[method])
        if wanted is not None:
            ax.axhline(wanted, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
            _note(ax, f"limit {100 * wanted:.4g}\u202f%", (1, wanted), 4, color=SOFT, fontsize=10)
        if point is not None:
            ax.plot(*point, "o", color=INK, markersize=9, markeredgecolor="white", zorder=4, clip_on=False)
        top = max(curve["high"].max(), 0.05, 1.1 * (wanted or 0.0), point[1] if point else 0.0)  # nothing lies outside
        _share_axes(ax, (0.0, 1.0), (0.0, min(top, 1.0)))
        ax.set_xlabel("False alarms: other images that are stopped")
        ax.set_ylabel("Misses")
        dot = " Dot: the threshold chosen." if point is not None else ""
        _title(ax, f"Misses of {names} against false alarms", f"Band: 95\u202f% interval.{dot}")
        _fit(fig, ax)
    return _sharp(fig)


def short_name(name: str, letters: int = 17, lines: int = 2) -> str:
    """A class name on at most so many lines of so many letters; a longer one is shortened in its middle."""
    longest = letters * lines
    if len(name) > longest:
        half = (longest - 1) // 2
        name = f"{name[:half].rstrip()}…{name[-half:].lstrip()}"
    if len(name) <= letters:
        return name
    wrapped = textwrap.wrap(name, letters, break_on_hyphens=True)
    return "\n".join(wrapped if len(wrapped) <= lines else (name[:letters], name[letters:]))


def _short_number(value: float) -> str:
    """At most three figures: 2.33 → "2.3", 31.3 → "31", 1240 → "1.2k"."""
    if value >= 1000:
        return f"{value / 1000:.2g}k"
    return f"{value:.0f}" if value >= 10 else plain(value)


# ---- the frame of these figures ---------------------------------------------------------------------------------


@contextmanager
def _narrow(height: float) -> Iterator[tuple[Figure, Axes]]:
    with styled_figure(height) as (fig, ax):
        fig.set_size_inches(NARROW, height)
        yield fig, ax


def _sharp(fig: Figure) -> Figure:
    """The resolution for its size; pyplot sets it back when it closes the figure."""
    fig.set_dpi(DPI * WIDTH / NARROW)
    return fig


def _band(ax: Axes, x: pd.Series, middle: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> None:
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.plot(x, middle, color=colour, linewidth=2.2)


def _share_axes(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Both axes in per cent, with a little room at the ends."""
    for axis, set_limits, (low, high) in ((ax.xaxis, ax.set_xlim, x), (ax.yaxis, ax.set_ylim, y)):
        pad = max(0.03 * (high - low), 0.004)
        set_limits(low - pad, high + pad)
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}\u202f%"))
    ax.tick_params(length=0, labelsize=10)
    ax.xaxis.label.set_fontsize(10.5)
    ax.yaxis.label.set_fontsize(10.5)
    sns.despine(ax=ax, left=True, bottom=True)


def _note(ax: Axes, text: str, at: tuple[float, float], up: float, **style: Any) -> None:
    """A text that ends at a place, so many points above it (or below); white behind it."""
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    side = "bottom" if up > 0 else "top"
    ax.annotate(text, at, (-2, up), textcoords="offset points", ha="right", va=side, bbox=behind, **style)


def _title(ax: Axes, title: str, subtitle: str) -> None:
    """Title and subtitle, left, above the axes; `_fit` makes room for them."""
    subtitle, title = textwrap.fill(subtitle, 56), textwrap.fill(title, 42)
    above = 12 + 13 * (subtitle.count("\n") + 1)
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    ax.annotate(subtitle, (0, 1), (0, 9), color=SOFT, fontsize=10, **at)
    ax.annotate(title, (0, 1), (0, above), fontsize=12.5, fontweight="bold", **at)


def _fit(fig: Figure, ax: Axes) -> None:
    """Room around the axes for all their labels. The titles begin at the left edge of the figure."""
    fig.subplots_adjust(left=0.2, right=0.97, bottom=0.2, top=0.8)
    for _ in range(2):  # labels keep their size, axes do not
        inner, outer = ax.get_window_extent(), ax.get_tightbbox() or ax.get_window_extent()
        width, height, edge = fig.bbox.width, fig.bbox.height, _EDGE * fig.dpi
        ticks = [label.get_window_extent().x0 for label in ax.get_yticklabels() if label.get_text()]
        start = min([ax.yaxis.label.get_window_extent().x0, *ticks])
        fig.subplots_adjust(
            left=(inner.x0 - start + edge) / width,
            right=0.97,
            bottom=(inner.y0 - outer.y0 + edge) / height,
            top=1 - (outer.y1 - inner.y1 + edge) / height,
        )
    shift = -72 * (ax.get_window_extent().x0 - _EDGE * fig.dpi) / fig.dpi
    for text in ax.texts:
        if getattr(text, "xycoords", "") == "axes fraction":
            text.set_position((shift, text.get_position()[1]))
