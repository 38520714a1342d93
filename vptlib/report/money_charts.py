"""The figure about money in a report: what the order of two ways hangs on (a tornado diagram).

Howard, Decision Analysis: Practice and Promise, Management Science 34, 1988.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vptlib.evidence.money import Lead, Swing
from vptlib.report.fonts import width_of, wrapped
from vptlib.report.layout import DASHED, EDGE, fit, plain_axes, thin_out
from vptlib.report.style import (
    COLOURS,
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

MOST_BARS = 8
# A bar shorter than this share of the longest is left out.
LEAST_SHARE = 0.01


def swings_shown(swings: list[Swing]) -> list[Swing]:
    """Those that are drawn: the widest ones, without the ones too narrow to see."""
    widest = max((swing.width for swing in swings), default=0.0)
    return [swing for swing in swings if swing.width >= LEAST_SHARE * widest][:MOST_BARS]


def tornado_figure(lead: Lead, swings: list[Swing]) -> Figure:
    """What one way brings more than the other as one figure at a time goes from its low to its high end.

    The part of a bar on the side of a way has its colour. A bar that crosses the line at 0 can turn the order. On a
    narrow figure the name of a bar stands above it.

    Args:
        lead: of the two ways.
        swings: of `vptlib.evidence.money.Pair.tornado`, at least one.
    """
    shown = swings_shown(swings)
    names = [words.PRICES[swing.name][0] for swing in reversed(shown)]
    with styled_figure((1.4 if is_narrow() else 1.3) + (0.55 if is_narrow() else 0.46) * len(shown)) as (fig, ax):
        for place, swing in enumerate(reversed(shown)):
            _draw_swing(ax, place, swing, lead)
        ax.axvline(0, color=SOFT, linewidth=1.2, zorder=3)
        ax.axvline(lead.money.likely, color=SOFT, linewidth=1.2, linestyle=DASHED, zorder=1)
        _name_bars(ax, names)
        _widen(ax, shown)
        ax.xaxis.set_major_locator(MaxNLocator(4 if is_narrow() else 5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: words.money(value)))
        size = type_size(10.5)
        about = words.tornado_axis(lead.a, lead.b, lead.valued)
        ax.set_xlabel(wrapped(about, figure_width() - (0.6 if is_narrow() else 3.0), size), fontsize=size)
        plain_axes(ax, "x")
        fit(fig)
        thin_out(ax)
    return fig


def _name_bars(ax: Axes, names: list[str]) -> None:
    if not is_narrow():
        ax.set_yticks(range(len(names)), [wrapped(name, 2.4, type_size(11)) for name in names], fontsize=type_size(11))
        ax.set_ylim(-0.6, len(names) - 0.4)
        return
    ax.set_yticks([])
    ax.set_ylim(-0.4, len(names) - 0.15)
    for place, name in enumerate(names):
        size = type_size(10.5)
        text = wrapped(name, figure_width() - 2 * EDGE - 0.1, size, lines=1)
        at = (0, place + 0.5)
        behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        ax.annotate(
            text,
            at,
            (0, 0),
            ax.get_yaxis_transform(),
            "offset points",
            va="center",
            fontsize=size,
            zorder=5,
            bbox=behind,
        )


def _draw_swing(ax: Axes, place: int, swing: Swing, lead: Lead) -> None:
    low, high = sorted(swing.lead)
    height = 0.42 if is_narrow() else 0.58
    for start, end, colour in ((low, min(high, 0.0), COLOURS[lead.b]), (max(low, 0.0), high, COLOURS[lead.a])):
        if end > start:
            ax.barh(place, end - start, left=start, height=height, color=colour, zorder=2)
    if low == high:
        ax.plot([low], [place], "|", color=OPEN)
    for k, value in enumerate(swing.lead):
        on_the_left = value == low and low != high and (k == 0 or swing.lead[0] != low)
        style: dict[str, Any] = {"fontsize": type_size(10), "color": SOFT, "zorder": 4}
        ax.annotate(
            _end(swing, k), (value, place), (-5 if on_the_left else 5, 0), textcoords="offset points", va="center",
            ha="right" if on_the_left else "left", bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1}, **style,
        )  # fmt: skip


def _end(swing: Swing, k: int) -> str:
    """The figure at one end of a bar, as it is written next to it."""
    if swing.name == "accuracy":
        return _("{n} points").format(n=words.short_points(round(swing.at[k], 3)))
    if swing.name == "discount_rate":
        return words.per_cent(swing.at[k], 0 if round(100 * swing.at[k], 6).is_integer() else 1)
    return words.money(swing.at[k])


def _widen(ax: Axes, shown: list[Swing]) -> None:
    """Room for the figures at the ends of the bars."""
    ends = [0.0, *(end for swing in shown for end in swing.lead)]
    inches = figure_width() - (0.2 if is_narrow() else 2.7)
    widest = max(width_of(_end(swing, k), type_size(10)) for swing in shown for k in range(len(swing.lead))) + 0.12
    span = (max(ends) - min(ends)) or 1.0
    room = span * widest / max(inches - 2 * widest, 0.5)
    ax.set_xlim(min(ends) - room, max(ends) + room)
