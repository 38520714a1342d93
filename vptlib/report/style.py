"""How figures look: a colour and a marker for each method, shades of ink, sizes, and the frame of every figure."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vptlib.tuning.methods import METHODS


class _Column(Mapping[str, str]):
    """A column of `METHODS` by name of method. It reads the table at each use, so an added method is there too."""

    def __init__(self, attribute: str):
        self._attribute = attribute

    def __getitem__(self, method: str) -> str:
        return getattr(METHODS[method], self._attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(METHODS)

    def __len__(self) -> int:
        return len(METHODS)


TITLES, COLOURS, MARKERS = _Column("title"), _Column("colour"), _Column("marker")

INK, SOFT, OPEN, LINE = "#1b2430", "#5a6675", "#8a939e", "#dde2e8"
FONT = "DejaVu Sans"  # comes with matplotlib, so it is there on every machine
LABEL = {"fontsize": 11.5, "fontweight": "bold", "linespacing": 1.15}
DPI = 140
WIDTH = 8.6  # inches: on A4 the type is then a little smaller than the text, on a screen a little larger


# Names of classes and tasks are shown as they are: a $ in them begins no formula.
_TEXT: dict[Any, Any] = {"font.family": FONT, "text.color": INK, "text.parse_math": False}


def text_style() -> AbstractContextManager[None]:
    """The font and the ink of `styled_figure`, without its grid."""
    return plt.rc_context(_TEXT)


@contextmanager
def styled_figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure in our style, closed for pyplot at the end; `height` in inches."""
    with styled_panels(height, 1) as (fig, (ax,)):
        yield fig, ax


@contextmanager
def styled_panels(height: float, columns: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """As `styled_figure`, with several axes next to each other."""
    rules = {
        "axes.edgecolor": LINE,
        "axes.labelcolor": INK,
        "grid.color": LINE,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with sns.axes_style("whitegrid", rules), sns.plotting_context("notebook", font_scale=1.0), text_style():
        fig, axes = plt.subplots(1, columns, figsize=(WIDTH, height), dpi=DPI, squeeze=False)
        yield fig, list(axes[0])
    plt.close(fig)
