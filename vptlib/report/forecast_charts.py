"""The figure of a record of forecasts: what was said against what came true.

As in `vptlib.report.charts`: the figure is closed for pyplot.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from vptlib.report.style import COLOURS, DPI, INK, OPEN, SOFT, WIDTH, styled_figure
from vptlib.wording import many, per_cent

_SIDE = 4.9  # inches: narrow, so that a phone shows it legibly
_FIFTHS = np.linspace(0, 1, 6)


def reliability_figure(bins: pd.DataFrame, came_true: float) -> Figure:
    """Forecast probability across, the share that came true upwards; on the diagonal the two agree.

    Args:
        bins: from `vptlib.evidence.forecast.Record.bins`.
        came_true: the share of all cases, which is drawn as a level line: the constant.
    """
    with styled_figure(4.7) as (fig, ax):
        fig.set_size_inches(_SIDE, fig.get_figheight())
        ax.plot([0, 1], [0, 1], color=OPEN, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        ax.axhline(came_true, color=SOFT, linewidth=1, zorder=1)
        for row in bins.itertuples():
            ax.plot([row.forecast] * 2, [row.came_true_low, row.came_true_high], color=SOFT, linewidth=2, zorder=2)
            ax.plot(row.forecast, row.came_true, "o", color=COLOURS["full"], markersize=9, zorder=3)
        _axes(ax, bins)
        _head(ax, came_true)
        fig.subplots_adjust(left=0.17, right=0.97, bottom=0.19, top=0.8)
    fig.set_dpi(DPI * WIDTH / _SIDE)  # after pyplot has closed it, which sets back the resolution
    return fig


def _axes(ax: Axes, bins: pd.DataFrame) -> None:
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_locator(FixedLocator(_FIFTHS.tolist()))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: per_cent(value, 0)))
    cases = {round(row.low, 6): row.cases for row in bins.itertuples()}
    counts = [cases.get(round(low, 6), 0) for low in _FIFTHS[:-1]]
    names = [f"{100 * low:.0f}–{per_cent(low + 0.2, 0)}\n{_cases(n)}" for low, n in zip(_FIFTHS, counts, strict=False)]
    ax.set_xticks(_FIFTHS[:-1] + 0.1, names, fontsize=9, linespacing=1.4)
    ax.set_xticks(_FIFTHS, minor=True)
    ax.grid(True, axis="x", which="minor")
    ax.grid(False, axis="x", which="major")
    ax.tick_params(length=0, which="both")
    ax.set_xlabel("Forecast probability")
    ax.set_ylabel("Came true")
    sns.despine(ax=ax, left=True, bottom=True)


def _cases(count: int) -> str:
    return many(count, "case") if count else "none"


def _head(ax: Axes, came_true: float) -> None:
    subtitle = f"Dashed: honest probabilities.\nLevel line: all cases, {per_cent(came_true, 0)}."
    ax.annotate(subtitle, (0, 1), (0, 8), "axes fraction", "offset points", va="bottom", color=SOFT, fontsize=10)
    ax.annotate(
        "What was forecast and what came true", (0, 1), (0, 40), "axes fraction", "offset points", va="bottom",
        color=INK, fontsize=12.5, fontweight="bold",
    )  # fmt: skip
