"""The GradCAM page of a report: the same test images under two models, in four cells by which model is right."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vptlib.explanations.maps import CELLS
from vptlib.report.fonts import wrapped
from vptlib.report.style import INK, SOFT, WIDE, figure_width, is_narrow, text_style, type_size
from vptlib.report.words import gettext as _
from vptlib.report.words import words

_PAGE_HEIGHT, _PAGE_DPI = 12.0, 100  # inches of a wide page, the shape of A4's text
_TILE_PIXELS = 64  # a side; more would only make the file larger
_STEPS = 16  # of the map's colours and of the grey under them
MAP_COLOURS = "viridis"  # even in lightness, safe for the colour-blind
RIGHT, WRONG = ("✓", "#005A94", "solid"), ("✗", "#B34300", "dashed")


def gradcam_page(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    maps: dict[str, np.ndarray],
    predictions: dict[str, np.ndarray],
    counts: dict[str, int] | None = None,
    opacity: float = 0.6,
) -> Figure:
    """The same test images under two models, in four cells by which of the two is right: image, map, map.

    Args:
        images: uint8 `B H W 3`.
        labels: `B` true classes.
        class_names: a name per class.
        maps: two methods → `B h w` in [0, 1], each map for the class that the method predicts.
        predictions: the same two methods → `B` predicted classes.
        counts: from `vptlib.explanations.maps.cell_counts`, for the whole test set; the headings then show it.
        opacity: of the maps over the greyed image; 0 shows the image, 1 the map alone.

    Returns:
        A figure that fits the text of an A4 page; on a narrow screen its cells stand one under the other.
    """
    cells = _cells_of_page(labels, predictions, counts)
    columns = [_("Image"), *(words.title(method) for method in maps)]
    with text_style():
        shown = {int(c) for c in np.concatenate([labels, *predictions.values()])}
        names = {c: _label_lines(class_names[c]) for c in shown}
        lines = max((name.count("\n") + 1 for name in names.values()), default=1)
        sheet = _Sheet([(heading, len(rows)) for heading, _count, rows in cells], lines, columns, _caption())
        for cell, (_heading, count, rows) in enumerate(cells):
            sheet.head(cell, count)
            for row, item in enumerate(rows):
                picture = small(images[item])
                sheet.show(cell, row, 0, picture, names[int(labels[item])])
                for column, (method, of_method) in enumerate(maps.items(), start=1):
                    guess = int(predictions[method][item])
                    tile = overlay(picture, of_method[item], opacity)
                    sheet.show(cell, row, column, tile, names[guess], RIGHT if guess == labels[item] else WRONG)
        sheet.foot()
    plt.close(sheet.figure)
    return sheet.figure


def _caption() -> str:
    return _(
        "Left: a test image and its true class. Beside it, for each model, the GradCAM map for the class that the "
        "model predicts, named below: ✓ right, ✗ wrong (dashed frame). Yellow marks the patches that spoke most for "
        "that class, dark blue those that did not. Each map is scaled by itself: compare where, not how much."
    )


def _cells_of_page(
    labels: np.ndarray, predictions: dict[str, np.ndarray], counts: dict[str, int] | None
) -> list[tuple[str, str, np.ndarray]]:
    """Heading, count and row numbers of each cell, in reading order."""
    (name_a, a), (name_b, b) = ((words.in_prose(m), np.asarray(p) == labels) for m, p in predictions.items())
    of_all = {cell: "" for cell in CELLS}
    if counts:
        every = words.whole(sum(counts.values()))
        of_all = {cell: _("{n} of {all} test images").format(n=words.whole(counts[cell]), all=every) for cell in CELLS}
    both, only_a, only_b, neither = CELLS
    only = _("Only {method} right")
    return [
        (_("Both right"), of_all[both], np.flatnonzero(a & b)),
        (_("Both wrong"), of_all[neither], np.flatnonzero(~a & ~b)),
        (only.format(method=name_a), of_all[only_a], np.flatnonzero(a & ~b)),
        (only.format(method=name_b), of_all[only_b], np.flatnonzero(~a & b)),
    ]


def _label_lines(name: str) -> str:
    """A class name on one line or two as wide as a tile, the rest of a longer one cut off visibly."""
    return wrapped(name, _tile_width() - (0.16 if is_narrow() else 0.1), type_size(9.6), lines=2)


def _tile_width() -> float:
    return 0.9 if is_narrow() else 1.28


def small(image: np.ndarray) -> np.ndarray:
    """Image `H W 3` at a size near `_TILE_PIXELS`: a large one reduced, each pixel of a small one repeated."""
    picture = Image.fromarray(image)
    picture.thumbnail((_TILE_PIXELS, _TILE_PIXELS))
    times = max(1, _TILE_PIXELS // max(picture.size))
    return np.asarray(picture).repeat(times, axis=0).repeat(times, axis=1)


def overlay(picture: np.ndarray, of_picture: np.ndarray, opacity: float) -> np.ndarray:
    """The map `h w` in colour over the greyed picture `H W 3`; gives `H W 3` in [0, 1]."""
    height, width = picture.shape[:2]
    fitted = Image.fromarray(np.float32(of_picture)).resize((width, height), Image.Resampling.BILINEAR)
    colours = colormaps[MAP_COLOURS](_in_steps(np.asarray(fitted)))[..., :3]  # H W 3
    grey = _in_steps(picture.mean(axis=2, keepdims=True) / 255)  # H W 1
    return opacity * colours + (1 - opacity) * grey


def _in_steps(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] rounded to `_STEPS` steps, which takes a fifth off the file."""
    return np.round(values * _STEPS) / _STEPS


class _Sheet:
    """Four cells of tiles, in two rows of two or, on a narrow figure, in one column; in inches from the top left."""

    def __init__(self, cells: list[tuple[str, int]], lines: int, columns: list[str], caption: str):
        self.width, self.size = figure_width(), type_size(9.6)
        self.cells, self.tile, self.gap = cells, _tile_width(), 0.4
        self.pitch = self.tile + (0.07 if is_narrow() else 0.085)
        self.columns = [wrapped(title, self.tile, self.size, lines=2) for title in columns]
        self.caption = wrapped(caption, self.width - (0.18 if is_narrow() else 2.45), self.size)
        line = 1.2 * self.size / 72
        self.titles = max(title.count("\n") + 1 for title in self.columns) * line
        self.heading = 0.56 + self.titles
        self.below = self._foot_height()
        label = 0.08 + lines * line
        bands = self._bands()
        if not is_narrow():
            room = _PAGE_HEIGHT - len(bands) * self.heading - self.below
            self.tile = min(self.tile, room / max(1, sum(bands)) - label)
        self.row = self.tile + label
        self.tops = [self.heading * k + self.row * sum(bands[:k]) for k in range(len(bands))]
        self.height = self.heading * len(bands) + self.row * sum(bands) + self.below
        self.figure = plt.figure(figsize=(self.width, self.height), dpi=_PAGE_DPI * WIDE / self.width)

    def _bands(self) -> list[int]:
        """Rows of tiles in each row of cells."""
        rows = [count for _heading, count in self.cells]
        return rows if is_narrow() else [max(rows[:2]), max(rows[2:])]

    def _foot_height(self) -> float:
        """Inches for the scale of colours and the caption: beside each other, or one under the other."""
        high = (self.caption.count("\n") + 1) * 1.3 * self.size / 72
        return high + 0.85 if is_narrow() else max(high + 0.2, 0.9)

    def head(self, cell: int, count: str) -> None:
        left, top = self._corner(cell)
        heading, rows = self.cells[cell]
        self._write(left, top + 0.22, heading, fontsize=type_size(11.5), fontweight="bold")
        self._write(left, top + 0.42, count)
        for column, title in enumerate(self.columns if rows else [_("none shown")]):
            self._write(left + column * self.pitch, top + 0.48 + self.titles, title, color=SOFT, linespacing=1.1)

    def show(self, cell: int, row: int, column: int, tile: np.ndarray, label: str, mark=("", INK, "solid")) -> None:
        left, top = self._corner(cell)
        left, top = left + column * self.pitch, top + self.heading + row * self.row
        axes = self._axes(left, top, self.tile, self.tile)
        axes.imshow(tile, interpolation="none")
        axes.set(xticks=[], yticks=[])
        sign, colour, style = mark
        for spine in axes.spines.values():
            spine.set(color=colour, linestyle=style, linewidth=1.6 if sign else 0.6)
        below = top + self.tile + 0.05
        self._write(left, below, f"{sign} {label}".strip(), va="top", color=colour, linespacing=1.1)

    def foot(self) -> None:
        top = self.height - self.below + 0.2
        self._write(0.04, top, _("Spoke for the class"))
        scale = self._axes(0.04, top + 0.08, 1.9, 0.15)
        scale.imshow(np.linspace(0, 1, 128)[None], cmap=MAP_COLOURS, aspect="auto")
        scale.set_axis_off()
        self._write(0.04, top + 0.4, _("least"))
        self._write(1.94, top + 0.4, _("most in this image"), ha="right")
        left, down = (0.04, 0.52) if is_narrow() else (2.3, -0.13)
        self._write(left, top + down, self.caption, va="top", linespacing=1.25)

    def _corner(self, cell: int) -> tuple[float, float]:
        if is_narrow():
            return 0.06, self.tops[cell]
        return 0.04 + (cell % 2) * (2 * self.pitch + self.tile + self.gap), self.tops[cell // 2]

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def _write(self, left: float, top: float, text: str, **options) -> None:
        options = {"fontsize": self.size, "va": "baseline"} | options
        self.figure.text(left / self.width, 1 - top / self.height, text, **options)
