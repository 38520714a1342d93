"""The GradCAM page of a report: the same test images under two models, in four cells by which model is right."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vptlib.explanations.maps import CELLS
from vptlib.report.style import INK, SOFT, TITLES, WIDTH, text_style
from vptlib.report.words import in_language

words = in_language()

# Inches: a page of WIDTH in the shape of A4's text; side of a tile, from tile to tile, between two cells; heights.
_PAGE_HEIGHT, _PAGE_DPI = 12.0, 100
_TILE, _PITCH, _GAP = 1.28, 1.365, 0.41
_HEADING, _LABEL_LINE, _FOOT = 0.77, 0.17, 1.0
_TILE_PIXELS = 64  # a side; more would only make the file larger
_STEPS = 16  # of the map's colours and of the grey under them
MAP_COLOURS = "viridis"  # even in lightness, safe for the colour-blind
RIGHT, WRONG = ("✓", "#005A94", "solid"), ("✗", "#B34300", "dashed")
_CAPTION = (
    "Left: a test image and its true class. Beside it, for each model, the GradCAM map for the class that the "
    "model predicts, named below: ✓ right, ✗ wrong (dashed frame). Yellow marks the patches that spoke most for "
    "that class, dark blue those that did not. Each map is scaled by itself: compare where, not how much."
)


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
        A figure that fits the text of an A4 page.
    """
    names = [_label_lines(name) for name in class_names]
    cells = _cells_of_page(labels, predictions, counts)
    lines = max((names[c].count("\n") + 1 for c in np.concatenate([labels, *predictions.values()])), default=1)
    columns = ["Image", *(TITLES[method] for method in maps)]
    with text_style():
        sheet = _Sheet([len(rows) for *_, rows in cells], lines)
        for cell, (heading, count, rows) in enumerate(cells):
            sheet.head(cell, heading, count, columns if len(rows) else ["none shown"])
            for row, item in enumerate(rows):
                picture = small(images[item])
                sheet.show(cell, row, 0, picture, names[labels[item]])
                for column, (method, of_method) in enumerate(maps.items(), start=1):
                    guess = predictions[method][item]
                    tile = overlay(picture, of_method[item], opacity)
                    sheet.show(cell, row, column, tile, names[guess], RIGHT if guess == labels[item] else WRONG)
        sheet.foot(_CAPTION)
    plt.close(sheet.figure)
    return sheet.figure


def _cells_of_page(
    labels: np.ndarray, predictions: dict[str, np.ndarray], counts: dict[str, int] | None
) -> list[tuple[str, str, np.ndarray]]:
    """Heading, count and row numbers of each cell, in reading order."""
    (name_a, a), (name_b, b) = ((words.in_prose(m), np.asarray(p) == labels) for m, p in predictions.items())
    of_all = {cell: f"{counts[cell]} of {sum(counts.values())} test images" if counts else "" for cell in CELLS}
    both, only_a, only_b, neither = CELLS
    return [
        ("Both right", of_all[both], np.flatnonzero(a & b)),
        ("Both wrong", of_all[neither], np.flatnonzero(~a & ~b)),
        (f"Only {name_a} right", of_all[only_a], np.flatnonzero(a & ~b)),
        (f"Only {name_b} right", of_all[only_b], np.flatnonzero(~a & b)),
    ]


def _label_lines(name: str, width: int = 18) -> str:
    """A class name on one line or two, the rest of a longer one cut off visibly."""
    lines = textwrap.wrap(name, width)
    if len(lines) > 2:
        lines = [lines[0], lines[1][: width - 1].rstrip() + "…"]
    return "\n".join(lines)


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
    """Four cells of tiles in two rows of two, laid out in inches from the top left corner of the figure."""

    def __init__(self, rows: list[int], lines: int):
        bands = [max(rows[:2]), max(rows[2:])]
        label = 0.08 + lines * _LABEL_LINE
        room = _PAGE_HEIGHT - 2 * _HEADING - _FOOT
        self.tile = min(_TILE, room / max(1, sum(bands)) - label)
        self.row = self.tile + label
        self.tops = [0.0, _HEADING + bands[0] * self.row]
        self.height = self.tops[1] + _HEADING + bands[1] * self.row + _FOOT
        self.figure = plt.figure(figsize=(WIDTH, self.height), dpi=_PAGE_DPI)

    def head(self, cell: int, heading: str, count: str, columns: list[str]) -> None:
        left, top = self._corner(cell)
        self._write(left, top + 0.22, heading, fontsize=11.5, fontweight="bold")
        self._write(left, top + 0.42, count)
        for column, title in enumerate(columns):
            self._write(left + column * _PITCH, top + 0.65, title, color=SOFT)

    def show(self, cell: int, row: int, column: int, tile: np.ndarray, label: str, mark=("", INK, "solid")) -> None:
        left, top = self._corner(cell)
        left, top = left + column * _PITCH, top + _HEADING + row * self.row - 0.05
        axes = self._axes(left, top, self.tile, self.tile)
        axes.imshow(tile, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        sign, colour, style = mark
        for spine in axes.spines.values():
            spine.set(color=colour, linestyle=style, linewidth=1.6 if sign else 0.6)
        below = top + self.tile + 0.05
        self._write(left, below, f"{sign} {label}".strip(), va="top", color=colour, linespacing=1.1)

    def foot(self, caption: str) -> None:
        top = self.height - _FOOT + 0.16
        self._write(0.04, top + 0.1, "Spoke for the class")
        scale = self._axes(0.04, top + 0.2, 1.9, 0.15)
        scale.imshow(np.linspace(0, 1, 128)[None], cmap=MAP_COLOURS, aspect="auto")
        scale.set_axis_off()
        self._write(0.04, top + 0.52, "least")
        self._write(1.94, top + 0.52, "most in this image", ha="right")
        self._write(2.25, top - 0.04, textwrap.fill(caption, 90), va="top", linespacing=1.3)

    def _corner(self, cell: int) -> tuple[float, float]:
        return 0.04 + (cell % 2) * (2 * _PITCH + _TILE + _GAP), self.tops[cell // 2]

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def _write(self, left: float, top: float, text: str, **options) -> None:
        options = {"fontsize": 9.2, "va": "baseline"} | options
        self.figure.text(left / WIDTH, 1 - top / self.height, text, **options)
