"""The figure about money in a report: what the order of two ways hangs on (a tornado diagram).

Howard, Decision Analysis: Practice and Promise, Management Science 34, 1988.
"""

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vptlib.evidence.money import Lead, Swing
from vptlib.report.style import COLOURS, OPEN, SOFT, WIDTH, styled_figure
from vptlib.report.words import in_language
from vptlib.wording import short_points

words = in_language()
MOST_BARS = 8
# A bar shorter than this share of the longest is left out.
LEAST_SHARE = 0.01


def swings_shown(swings: list[Swing]) -> list[Swing]:
    """Those that are drawn: the widest ones, without the ones too narrow to see."""
    widest = max((swing.width for swing in swings), default=0.0)
    return [swing for swing in swings if swing.width >= LEAST_SHARE * widest][:MOST_BARS]


def tornado_figure(lead: Lead, swings: list[Swing]) -> Figure:
    """What one way brings more than the other as one figure at a time goes from its low to its high end.

    The part of a bar on the side of a way has its colour. A bar that crosses the line at 0 can turn the order.

    Args:
        lead: of the two ways.
        swings: of `vptlib.evidence.money.Pair.tornado`, at least one.
    """
    shown = swings_shown(swings)
    with styled_figure(1.9 + 0.46 * len(shown)) as (fig, ax):
        for place, swing in enumerate(reversed(shown)):
            _draw_swing(ax, place, swing, lead)
        ax.axvline(0, color=SOFT, linewidth=1.2, zorder=3)
        ax.axvline(lead.money.likely, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=3)
        ax.set_yticks(range(len(shown)), [words.PRICES[swing.name][0] for swing in reversed(shown)])
        ax.set_ylim(-0.6, len(shown) - 0.4)
        _widen(ax, shown)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.money(value)))
        ax.set_xlabel(words.tornado_axis(lead.a, lead.b, lead.valued))
        ax.grid(False, axis="y")
        ax.tick_params(length=0)
        sns.despine(ax=ax, left=True, bottom=True)
        widest = max(label.get_window_extent().width for label in ax.get_yticklabels())
        fig.subplots_adjust(
            left=widest / fig.bbox.width + 0.03, right=0.95, top=0.97, bottom=0.75 / fig.get_figheight()
        )
    return fig


def _draw_swing(ax, place: int, swing: Swing, lead: Lead) -> None:
    low, high = sorted(swing.lead)
    for start, end, colour in ((low, min(high, 0.0), COLOURS[lead.b]), (max(low, 0.0), high, COLOURS[lead.a])):
        if end > start:
            ax.barh(place, end - start, left=start, height=0.58, color=colour, zorder=2)
    if low == high:
        ax.plot([low], [place], "|", color=OPEN)
    for k, value in enumerate(swing.lead):
        on_the_left = value == low and low != high and (k == 0 or swing.lead[0] != low)
        ax.annotate(
            _end(swing, k), (value, place), (-5 if on_the_left else 5, 0), textcoords="offset points", va="center",
            ha="right" if on_the_left else "left", fontsize=10, color=SOFT, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip


def _end(swing: Swing, k: int) -> str:
    """The figure at one end of a bar, as it is written next to it."""
    if swing.name == "accuracy":
        return f"{short_points(round(swing.at[k], 3))} points"
    if swing.name == "discount_rate":
        return f"{100 * swing.at[k]:g}\u202f%"
    return words.money(swing.at[k])


def _widen(ax, shown: list[Swing]) -> None:
    """Room for the figures at the ends of the bars."""
    ends = [0.0, *(end for swing in shown for end in swing.lead)]
    room = 0.2 * (max(ends) - min(ends) or 1.0)
    ax.set_xlim(min(ends) - room, max(ends) + room)
    ax.figure.set_figwidth(WIDTH)
