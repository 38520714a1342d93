"""How figures look: a colour and a marker for each method, shades of ink, sizes, and the frame of every figure.

A figure is drawn twice, once for wide screens and paper and once for narrow screens (`drawn_at`), and shown in the
colours of a light or a dark page (`dark_colour`). Text is at least `LEAST_TYPE` high on every screen from 320 px up.
"""

import colorsys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from vptlib.report.fonts import families
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

# ---- colours ----------------------------------------------------------------------------------------------------

INK, SOFT, OPEN, LINE, PAPER = "#1b2430", "#5a6675", "#8a939e", "#dde2e8", "#ffffff"
CELL = "#6ea8dc"  # of a shaded cell, with its share as opacity: ink is legible on it
DARK_PAPER = "#14181e"
_DARK = {INK: "#e6eaef", SOFT: "#aab4c0", OPEN: "#87919d", LINE: "#39424d", PAPER: DARK_PAPER, CELL: "#24609c"}
_DARK["#333333"] = "#d5dae0"  # nearly black becomes nearly white: a grey between looks like green to some eyes
LEAST_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3


def dark_colour(colour: str) -> str:
    """The colour on a dark page: inks have a fixed one, others get as light as text has to be there."""
    return _DARK.get(colour.lower()) or _until_legible(colour, DARK_PAPER)


def text_colour(colour: str) -> str:
    """The colour for text on a light page: a little darker where it would be hard to read."""
    return _until_legible(colour, PAPER)


def _until_legible(colour: str, ground: str) -> str:
    """The nearest lightness of a colour that has `LEAST_CONTRAST` with the ground."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    step = 0.01 if luminance(ground) < 0.2 else -0.01
    found = to_hex(colour)
    while contrast(found, ground) < LEAST_CONTRAST:
        lightness += step
        found = to_hex(colorsys.hls_to_rgb(hue, lightness, saturation))
    return found


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2), from 0 (black) to 1 (white)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2), from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# ---- sizes ------------------------------------------------------------------------------------------------------

WIDE, NARROW = 8.6, 3.0  # inches: own size on screens above `NARROW_SCREEN`; 288 px, all that 320 px leave
HALF = 4.58  # inches: two figures side by side on a wide screen
WIDTH = WIDE
NARROW_SCREEN = 760  # pixels: up to here the narrow figure is shown, as wide as the page
MARGIN, NARROW_MARGIN = 24, 16  # pixels: of the page, left and right
LEAST_TYPE = 11  # pixels
DPI = 140

_width = WIDE


@contextmanager
def drawn_at(width: float) -> Iterator[None]:
    """Within it, figures are drawn for screens of that kind: `WIDE` or `NARROW`, in inches."""
    global _width
    before, _width = _width, width
    try:
        yield
    finally:
        _width = before


def is_narrow() -> bool:
    """Whether figures are drawn for a narrow screen now: panels one under the other, short labels, fewer ticks."""
    return _width < HALF


def figure_width(half: bool = False) -> float:
    """Inches that a figure has now; `half` for one that shares a wide page with another."""
    return min(_width, HALF) if half else _width


def type_size(points: float) -> float:
    """Points of type in a figure of now, for what it is on a wide screen; never too small to read."""
    return max(8.6, 0.82 * points) if is_narrow() else max(9.6, points)


def label() -> dict[str, Any]:
    """The type of a label next to what it names."""
    return {"fontsize": type_size(11.5), "fontweight": "bold", "linespacing": 1.15}


# ---- frames -----------------------------------------------------------------------------------------------------


def text_style() -> AbstractContextManager[None]:
    """The fonts and the ink of `styled_figure`, without its grid.

    Names of classes and tasks are shown as they are: a $ in them begins no formula.
    """
    inks = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    style: dict[Any, Any] = {"font.family": families(), "text.parse_math": False} | inks
    return plt.rc_context(style)


@contextmanager
def styled_figure(height: float, half: bool = False) -> Iterator[tuple[Figure, Axes]]:
    """A figure in our style, closed for pyplot at the end; `height` in inches."""
    with styled_panels(height, 1, half) as (fig, (ax,)):
        yield fig, ax


@contextmanager
def styled_panels(height: float, columns: int, half: bool = False) -> Iterator[tuple[Figure, list[Axes]]]:
    """As `styled_figure`, with several axes of that height: next to each other, on a narrow figure among each other.

    Args:
        height: of a panel, inches.
        columns: how many panels.
        half: whether two such figures share a wide page.
    """
    rules = {
        "axes.edgecolor": LINE,
        "axes.facecolor": "none",
        "axes.labelcolor": INK,
        "grid.color": LINE,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.family": families(),
    }
    scale = 0.8 if is_narrow() else 1.0
    with sns.axes_style("whitegrid", rules), sns.plotting_context("notebook", font_scale=scale), text_style():
        rows, across = (columns, 1) if is_narrow() else (1, columns)
        size = (figure_width(half), height * rows)
        fig, axes = plt.subplots(rows, across, figsize=size, dpi=dots(half), squeeze=False)
        yield fig, list(axes.flat)
    plt.close(fig)
    fig.set_dpi(dots(half))  # pyplot sets back the resolution when it closes


def dots(half: bool = False) -> float:
    """Dots an inch that give every figure the same width in pixels."""
    return DPI * WIDE / figure_width(half)
