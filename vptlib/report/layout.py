"""Where the parts of a figure stand: heads, room for labels, labels that do not overlap, ticks that do not touch."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox, blended_transform_factory
from scipy.optimize import isotonic_regression

from vptlib.report.fonts import width_of, wrapped
from vptlib.report.style import SOFT, is_narrow, label, text_colour, type_size
from vptlib.report.words import gettext as _
from vptlib.report.words import words

EDGE = 0.06  # inches: around all that is drawn
GAP = 0.22  # inches: between panels
DASHED = (0, (4, 3))


def figure_of(ax: Axes) -> Figure:
    """The figure that axes belong to."""
    found = ax.get_figure(root=True)
    assert found is not None
    return found


# ---- heads and room -----------------------------------------------------------------------------------------------


def head(ax: Axes, title: str, subtitle: str = "") -> list[Text]:
    """Title and subtitle over the axes, from the left edge of the figure on; `fit` makes room for them."""
    large, small = type_size(13), type_size(10.5)
    inches = figure_of(ax).get_figwidth() - 2 * EDGE
    at: dict[str, Any] = {
        "xycoords": ("figure points", "axes fraction"),
        "textcoords": "offset points",
        "va": "bottom",
        "annotation_clip": False,
    }
    start, above, texts = (72 * EDGE, 1), 9.0, []
    if subtitle:
        subtitle = wrapped(subtitle, inches, small)
        texts.append(ax.annotate(subtitle, start, (0, above), color=SOFT, fontsize=small, linespacing=1.25, **at))
        above += 1.3 * small * (subtitle.count("\n") + 1) + 4
    if title:
        style = {"fontsize": large, "fontweight": "bold", "linespacing": 1.2}
        texts.append(ax.annotate(wrapped(title, inches, large, bold=True), start, (0, above), **style, **at))
    for text in texts:
        text.set_in_layout(False)
    return texts


def panel_head(ax: Axes, text: str) -> list[Text]:
    """The title of one of several panels, from the left end of its axes on (of the figure, where it is narrow)."""
    if is_narrow():
        return head(ax, text)
    size, fig = type_size(11.5), figure_of(ax)
    text = wrapped(text, fig.get_figwidth() / len(fig.axes) - 0.6, size, bold=True)
    found = ax.annotate(
        text, (0, 1), (0, 8), "axes fraction", "offset points", va="bottom", fontsize=size, fontweight="bold"
    )
    found.set_in_layout(False)
    return [found]


def key_above(ax: Axes, handles: Sequence[Any]) -> list[Artist]:
    """Which mark is what, in a line above the axes, on a narrow figure in two columns; `fit` makes room for it."""
    fig = figure_of(ax)
    from_left_edge = blended_transform_factory(fig.dpi_scale_trans, ax.transAxes)
    size = type_size(10)
    columns = len(handles)
    widths = [width_of(str(handle.get_label()), size) + 0.55 for handle in handles]
    while columns > 1 and sum(widths[:columns]) > 0 and columns * max(widths) > fig.get_figwidth():
        columns -= 1
    found = ax.legend(
        handles=handles, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.0), bbox_transform=from_left_edge,
        frameon=False, fontsize=size, borderaxespad=0.2, borderpad=0.3, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    found.set_in_layout(False)
    return [found]


def plain_axes(ax: Axes, grid: str = "both") -> None:
    """No frame and no tick marks; a grid across "x", "y", "both" or "none"."""
    ax.grid(False)
    if grid != "none":
        ax.grid(True, axis=grid)  # pyright: ignore[reportArgumentType]
    ax.tick_params(length=0, which="both")
    sns.despine(ax=ax, left=True, bottom=True)


def fit(fig: Figure, heads: Iterable[Artist] = (), right: float = 0.0, below: float = 0.0) -> None:
    """Axes as large as their labels allow, in a row, or in a column where figures are narrow.

    Args:
        fig: with all its texts.
        heads: what stands over axes and needs room above only, such as of `head` and `key_above`.
        right: inches to keep free on the right of the axes.
        below: inches to keep free under the axes.
    """
    axes, heads = fig.axes, list(heads)
    for _again in range(3):  # labels keep their size, axes do not
        rooms = [_room(ax, [text for text in heads if text.axes is ax]) for ax in axes]
        if is_narrow():
            _stack(fig, axes, rooms, right, below)
        else:
            _line_up(fig, axes, rooms, right, below)


def _room(ax: Axes, heads: list[Artist]) -> tuple[float, float, float, float]:
    """Inches that what belongs to an axes needs on its left, right, bottom and top."""
    fig = figure_of(ax)
    inner, outer = ax.get_window_extent(), ax.get_tightbbox() or ax.get_window_extent()
    tops = [text.get_window_extent().y1 for text in heads]
    sides = (inner.x0 - outer.x0, outer.x1 - inner.x1, inner.y0 - outer.y0, max([outer.y1, *tops]) - inner.y1)
    left, right, bottom, top = (max(side, 0.0) / fig.dpi for side in sides)
    return left, right, bottom, top


def _line_up(fig: Figure, axes: list[Axes], rooms: list, right: float, below: float) -> None:
    width, height = fig.get_size_inches()
    bottom, top = max(room[2] for room in rooms) + EDGE + below, max(room[3] for room in rooms) + EDGE
    free = width - 2 * EDGE - right - sum(room[0] + room[1] for room in rooms) - GAP * (len(axes) - 1)
    across, x = free / len(axes), EDGE
    for ax, room in zip(axes, rooms, strict=True):
        x += room[0]
        _place(fig, ax, x, bottom, across, height - bottom - top)
        x += across + room[1] + GAP


def _stack(fig: Figure, axes: list[Axes], rooms: list, right: float, below: float) -> None:
    width, height = fig.get_size_inches()
    left, end = max(room[0] for room in rooms) + EDGE, max(max(room[1] for room in rooms), right) + EDGE
    free = height - 2 * EDGE - below - sum(room[2] + room[3] for room in rooms) - GAP * (len(axes) - 1)
    high, y = free / len(axes), height - EDGE
    for ax, room in zip(axes, rooms, strict=True):
        y -= room[3] + high
        _place(fig, ax, left, y, width - left - end, high)
        y -= room[2] + GAP


def _place(fig: Figure, ax: Axes, x: float, y: float, width: float, height: float) -> None:
    across, up = fig.get_size_inches()
    ax.set_position(Bbox.from_bounds(x / across, y / up, max(width, 0.3) / across, max(height, 0.3) / up), which="both")


# ---- axes ---------------------------------------------------------------------------------------------------------


def per_cent_text(value: float) -> str:
    """0.825 → "82.5 %": with no more digits than there are."""
    digits = next(d for d in range(3) if d == 2 or abs(round(100 * value, d) - 100 * value) < 1e-6)
    return words.per_cent(value, digits)


def per_cent_axis(ax: Axes, low: float, high: float) -> None:
    """Shares upwards, with a little room at the ends; no number stands beyond 0 and 100 %."""
    pad = max(0.06 * (high - low), 0.005) if high > low else 0.05
    ax.set_ylim(low - pad, high + pad)
    ticks = MaxNLocator(5 if is_narrow() else 6, steps=[1, 2, 5, 10]).tick_values(low - pad, high + pad)
    ax.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if -1e-9 < tick < 1 + 1e-9]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: per_cent_text(value)))


def size_axis(ax: Axes, sizes: Iterable[int]) -> None:
    """A logarithmic axis of labelled images with a tick at each size, and only there; see `thin_out`."""
    sizes = sorted({int(n) for n in sizes})
    pad = max((sizes[-1] / sizes[0]) ** 0.06, 1.12)
    ax.set_xscale("log")
    ax.set_xlim(sizes[0] / pad, sizes[-1] * pad)
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sizes, [words.whole(n) for n in sizes])
    ax.set_xlabel(_("Labelled images") if is_narrow() else _("Labelled images (logarithmic scale)"))
    plain_axes(ax)


def thin_out(ax: Axes) -> None:
    """Only those labels under the axis stay that do not touch one on their right; its width must be final."""
    ends, dots = ax.get_xlim(), figure_of(ax).dpi
    figure_of(ax).draw_without_rendering()
    drawn = [tick for tick in ax.xaxis.get_major_ticks() if min(ends) <= tick.get_loc() <= max(ends)]
    edge, kept = np.inf, []
    for tick in sorted(drawn, key=lambda tick: -tick.get_loc()):
        box, text = tick.label1.get_window_extent(), tick.label1.get_text()
        fits = box.x1 + 0.06 * dots < edge
        kept.append((tick.get_loc(), text if fits else ""))
        edge = box.x0 if fits and text else edge
    if kept:
        places, texts = zip(*reversed(kept), strict=True)
        ax.set_xticks(places, texts)
        ax.set_xlim(ends)


# ---- labels that do not overlap and stay within the figure --------------------------------------------------------


def label_width(texts: Iterable[str]) -> float:
    """Inches that labels on the right of the axes need, with the gap before them."""
    return max(width_of(line, type_size(11.5), bold=True) for text in texts for line in text.split("\n")) + 0.32


def in_lines(text: str) -> str:
    """A label for the right of the axes: as it is, on a narrow figure wrapped."""
    return wrapped(text, 0.92, type_size(11.5), bold=True) if is_narrow() else text


def label_right(
    ax: Axes,
    texts: Sequence[str],
    heights: Sequence[float],
    colours: Sequence[str],
    ends: Sequence[float] | None = None,
) -> None:
    """Texts to the right of the axes, as near to their heights (in data units) as their size allows.

    Thin lines lead there from `ends`, the places across at which curves stop, where given. The place of the axes must
    be final, with `label_width` kept free on their right.
    """
    labels = [
        ax.text(1, height, text, transform=ax.get_yaxis_transform(), va="center", color=text_colour(colour), **label())
        for text, height, colour in zip(texts, heights, colours, strict=True)
    ]
    boxes = [one.get_window_extent() for one in labels]
    gap = (0.22 if ends is not None else 0.12) * figure_of(ax).dpi
    per_pixel = np.diff(ax.get_ylim())[0] / ax.bbox.height
    placed = spread_apart(heights, [1.12 * box.height * per_pixel for box in boxes], ax.get_ylim())
    for i, one in enumerate(labels):
        one.set_position((1 + gap / ax.bbox.width, placed[i]))
        if ends is not None:
            _lead(ax, (ends[i], heights[i]), (1 + 0.8 * gap / ax.bbox.width, placed[i]), colours[i])


def _lead(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 4}
    ax.annotate("", start, end, textcoords=ax.get_yaxis_transform(), arrowprops=arrow, annotation_clip=False)


def spread_apart(places: Sequence[float], lengths: Sequence[float], bounds: tuple[float, float]) -> np.ndarray:
    """Centres for labels of the given lengths along a line: near their places, without overlap, within bounds if they
    all fit in.

    The least moved in sum of squares: labels pushed together share their displacement (isotonic regression).
    """
    order = np.argsort(places, kind="stable")
    wanted, sizes = np.asarray(places, dtype=float)[order], np.asarray(lengths, dtype=float)[order]
    offsets = np.concatenate([[0.0], np.cumsum((sizes[1:] + sizes[:-1]) / 2)])  # of each centre from the first
    firsts = isotonic_regression(wanted - offsets).x
    lowest, highest = bounds[0] + sizes[0] / 2, bounds[1] - sizes[-1] / 2 - offsets[-1]
    centres = np.clip(firsts, lowest, max(lowest, highest)) + offsets
    placed = np.empty_like(centres)
    placed[order] = centres
    return placed
