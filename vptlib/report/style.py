"""How figures look: a colour and a marker for each method, shades of ink, sizes, and the frame of every figure."""

from collections.abc import Iterator
from contextlib import contextmanager

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vptlib.tuning.methods import METHODS

TITLES = {name: method.title for name, method in METHODS.items()}
COLOURS = {name: method.colour for name, method in METHODS.items()}
MARKERS = {name: method.marker for name, method in METHODS.items()}

INK, SOFT, OPEN, LINE = "#1b2430", "#5a6675", "#8a939e", "#dde2e8"
LABEL = {"fontsize": 11.5, "fontweight": "bold", "linespacing": 1.15}
DPI = 140
WIDTH = 8.6  # inches: on A4 the type is then a little smaller than the text, on a screen a little larger


@contextmanager
def styled_figure(height: float, columns: int = 1) -> Iterator[tuple[Figure, Axes]]:
    """A figure in our style, closed for pyplot at the end; `height` in inches."""
    rules = {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so it is there on every machine
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": INK,
        "grid.color": LINE,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with sns.axes_style("whitegrid", rules), sns.plotting_context("notebook", font_scale=1.0):
        fig, axes = plt.subplots(1, columns, figsize=(WIDTH, height), dpi=DPI)
        yield fig, axes
    plt.close(fig)
