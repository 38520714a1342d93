"""The figure of a record of forecasts: what was said against what came true.

As in `vptlib.report.charts`: the figure is closed for pyplot.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from vptlib.report.layout import DASHED, fit, head, plain_axes
from vptlib.report.style import COLOURS, OPEN, SOFT, is_narrow, styled_figure, type_size
from vptlib.report.words import gettext as _
from vptlib.report.words import words

_FIFTHS = np.linspace(0, 1, 6)


def reliability_figure(bins: pd.DataFrame, came_true: float) -> Figure:
    """Forecast probability across, the share that came true upwards; on the diagonal the two agree.

    Args:
        bins: from `vptlib.evidence.forecast.Record.bins`.
        came_true: the share of all cases, which is drawn as a level line: the constant.
    """
    with styled_figure(3.6 if is_narrow() else 4.5, half=True) as (fig, ax):
        ax.plot([0, 1], [0, 1], color=OPEN, linewidth=1.2, linestyle=DASHED, zorder=1)
        ax.axhline(came_true, color=SOFT, linewidth=1, zorder=1)
        for row in bins.itertuples():
            ax.plot([row.forecast] * 2, [row.came_true_low, row.came_true_high], color=SOFT, linewidth=2, zorder=2)
            ax.plot(row.forecast, row.came_true, "o", color=COLOURS["full"], markersize=9, zorder=3)
        _axes(ax, bins)
        says = words.sentences(
            _("Dashed: honest probabilities."),
            _("Level line: all cases, {share}.").format(share=words.per_cent(came_true, 0)),
        )
        fit(fig, head(ax, _("What was forecast and what came true"), says))
    return fig


def _axes(ax: Axes, bins: pd.DataFrame) -> None:
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_locator(FixedLocator(_FIFTHS.tolist()))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: words.per_cent(value, 0)))
    cases = {round(row.low, 6): int(row.cases) for row in bins.itertuples()}
    counts = [cases.get(round(low, 6), 0) for low in _FIFTHS[:-1]]
    names = [f"{_part(low)}\n{_cases(n)}" for low, n in zip(_FIFTHS, counts, strict=False)]
    ax.set_xticks(_FIFTHS[:-1] + 0.1, names, fontsize=type_size(9), linespacing=1.4)
    ax.set_xticks(_FIFTHS, minor=True)
    ax.grid(True, axis="x", which="minor")
    ax.grid(False, axis="x", which="major")
    plain_axes(ax, "y")
    ax.grid(True, axis="x", which="minor")
    ax.set_xlabel(_("Forecast probability"), fontsize=type_size(10.5))
    ax.set_ylabel(_("Came true"), fontsize=type_size(10.5))


def _part(low: float) -> str:
    """ "20–40 %", on a narrow figure "20–40"."""
    if is_narrow():
        return f"{100 * low:.0f}–{100 * low + 20:.0f}"
    return f"{100 * low:.0f}–{words.per_cent(low + 0.2, 0)}"


def _cases(count: int) -> str:
    """ "12 cases"; on a narrow figure the number alone, which its caption explains."""
    if count == 0:
        return _("none")
    return words.whole(count) if is_narrow() else words.many(count, _("case"))
