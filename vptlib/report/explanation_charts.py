"""Figures of explanations: maps next to each other with their numbers, their faithfulness, attention and prompts.

As in `vptlib.report.charts`: figures are closed for pyplot, and methods keep their colours and markers.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vptlib.explanations.checklist import Examination
from vptlib.explanations.checks import BASELINES
from vptlib.explanations.maps import EXPLANATIONS
from vptlib.explanations.similarity import SAME
from vptlib.report.fonts import width_of, wrapped
from vptlib.report.gradcam_page import MAP_COLOURS, RIGHT, WRONG, overlay, small
from vptlib.report.layout import EDGE, fit, key_above, panel_head, plain_axes
from vptlib.report.style import (
    COLOURS,
    INK,
    LINE,
    MARKERS,
    OPEN,
    PAPER,
    SOFT,
    WIDE,
    dots,
    figure_width,
    is_narrow,
    styled_figure,
    styled_panels,
    text_colour,
    text_style,
    type_size,
)
from vptlib.report.words import gettext as _
from vptlib.report.words import words

_PICTURE_DPI = 90
_CAPTION_GAP = 1.35  # of a line


def title_of_kind(kind: str) -> str:
    """The title of a kind of map, such as "GradCAM", in the language that is spoken now: names of papers stay."""
    in_words = {
        "attention": _("Attention"),
        "rollout": _("Rollout"),
        "centre": _("centre blob"),
        "random": _("random"),
    }
    return in_words.get(kind) or (EXPLANATIONS | BASELINES)[kind].title


# ---- maps next to each other --------------------------------------------------------------------------------------


def map_table(
    images: np.ndarray,
    class_names: Sequence[str],
    labels: np.ndarray,
    predictions: dict[str, np.ndarray],
    maps: dict[str, dict[str, np.ndarray]],
    gaps: dict[str, dict[str, np.ndarray]],
    opacity: float = 0.6,
) -> Figure:
    """Every kind of map for the same images, a block per image and model, with each map's number below it.

    All maps have one colour scale, from 0 to 1. A block is one row of maps, on a narrow figure several.

    Args:
        images: uint8 `B H W 3`; three or four fill a page.
        class_names: a name per class.
        labels: `B` true classes.
        predictions: method → `B` predicted classes, which the maps explain.
        maps: method → kind of map → `B h w` in [0, 1].
        gaps: method → kind of map → `B` insertion minus deletion area.
        opacity: of the maps over the greyed image; 0 shows the image, 1 the map alone.
    """
    kinds = list(next(iter(maps.values())))
    with text_style():
        table = _MapTable([_("Image"), *(title_of_kind(kind) for kind in kinds)], len(images) * len(maps))
        for item, image in enumerate(images):
            picture = small(image)
            for method, of_method in maps.items():
                guess = int(predictions[method][item])
                mark = RIGHT if guess == labels[item] else WRONG
                tiles = [picture, *(overlay(picture, of_method[kind][item], opacity) for kind in kinds)]
                values = ["", *(words.decimals(gaps[method][kind][item], 2, signed=True) for kind in kinds)]
                table.block(method, class_names[guess], mark, tiles, values)
        table.foot()
    plt.close(table.figure)
    return table.figure


class _MapTable:
    """Blocks of tiles, one under the other, in inches from the top left: who answered what, then picture and maps."""

    def __init__(self, columns: list[str], blocks: int):
        self.width, self.size = figure_width(), type_size(9.6)
        self.line = 1.2 * self.size / 72
        self.left, self.beside = (EDGE, 3) if is_narrow() else (1.66, len(columns))
        self.pitch = (self.width - self.left - 0.02) / self.beside
        self.tile = min(self.pitch - 0.1, 0.98)
        self.columns = [wrapped(name, self.pitch - 0.06, self.size, bold=True, lines=3) for name in columns]
        self.heading = max(name.count("\n") + 1 for name in self.columns) * self.line + 0.1
        self.note = wrapped(_said_of_maps(), self.width - (0.1 if is_narrow() else 1.95), self.size)
        rows = -(-len(columns) // self.beside)
        under = self.tile + self.line + 0.1  # of a row of tiles
        self.row = under + (self.heading if is_narrow() else 0)
        self.block_height = rows * self.row + (3 * self.line + 0.1 if is_narrow() else 0.06)
        self.top = EDGE if is_narrow() else self.heading
        lines = self.note.count("\n") + 1
        self.below = lines * _CAPTION_GAP * self.size / 72 + (0.85 if is_narrow() else 0.2)
        self.height = self.top + blocks * self.block_height + max(self.below, 0.9)
        self.figure = plt.figure(figsize=(self.width, self.height), dpi=_PICTURE_DPI * WIDE / self.width)
        if not is_narrow():
            self._headings(0, self.top)

    def block(self, method: str, answer: str, mark: tuple[str, str, str], tiles: list, values: list[str]) -> None:
        sign, colour, _style = mark
        room = self.width - 0.2 if is_narrow() else self.left - 0.12
        self._write(
            0.04, self.top + self.line, words.title(method), fontweight="bold", color=text_colour(COLOURS[method])
        )
        answer = wrapped(f"{sign} {answer}", room, self.size, lines=1 if is_narrow() else 3)
        self._write(0.04, self.top + self.line + 0.06, answer, color=colour, va="top", linespacing=1.15)
        start = self.top + (2.4 * self.line if is_narrow() else 0)
        for k, (tile, value) in enumerate(zip(tiles, values, strict=True)):
            y = start + (k // self.beside) * self.row
            if is_narrow() and k % self.beside == 0:
                self._headings(k, y + self.heading)
            y += self.heading if is_narrow() else 0
            x = self.left + (k % self.beside) * self.pitch
            self._show(x, y, tile, mark if k else ("", LINE, "solid"))
            self._write(x + self.tile / 2, y + self.tile + self.line + 0.02, value, ha="center", color=SOFT)
        if not is_narrow():
            says = wrapped(_("insertion − deletion"), room, self.size)
            self._write(0.04, start + self.tile + self.line + 0.02, says, color=SOFT)
        self.top += self.block_height

    def _headings(self, first: int, bottom: float) -> None:
        for k, name in enumerate(self.columns[first : first + self.beside]):
            x = self.left + k * self.pitch
            self._write(x, bottom - 0.07, name, fontweight="bold", linespacing=1.05, va="bottom")

    def _show(self, x: float, y: float, tile: np.ndarray, mark: tuple[str, str, str]) -> None:
        bottom = self.height - y - self.tile
        axes = self.figure.add_axes(
            (x / self.width, bottom / self.height, self.tile / self.width, self.tile / self.height)
        )
        axes.imshow(tile, interpolation="none")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=mark[1], linestyle=mark[2], linewidth=1.2)

    def foot(self) -> None:
        """The scale of colours, and what maps and numbers mean."""
        top = self.top + 0.12
        scale = self.figure.add_axes(
            (0.04 / self.width, 1 - (top + 0.3) / self.height, 1.4 / self.width, 0.14 / self.height)
        )
        scale.imshow(np.linspace(0, 1, 128)[None], cmap=MAP_COLOURS, aspect="auto")
        scale.set_axis_off()
        self._write(0.04, top + 0.1, _("Spoke for the class"))
        self._write(0.04, top + 0.47, _("least"))
        self._write(1.44, top + 0.47, _("most"), ha="right")
        left, down = (0.04, 0.6) if is_narrow() else (1.8, -0.04)
        self._write(left, top + down, self.note, linespacing=1.25, va="top")

    def _write(self, x: float, y: float, text: str, **options: Any) -> None:
        options = {"fontsize": self.size, "va": "baseline"} | options
        self.figure.text(x / self.width, 1 - y / self.height, text, **options)


def _said_of_maps() -> str:
    class_blind = words.listed(title_of_kind(kind).lower() for kind, row in EXPLANATIONS.items() if not row.class_aware)
    return _(
        "Each map is for the class that the model predicts (✓ right, ✗ wrong: dashed frames) and is scaled by itself; "
        "{class_blind} know no class. The number: area under the insertion curve less that under the deletion "
        "curve. Near 0, what the map marks matters no more than any other part of the image."
    ).format(class_blind=class_blind)


def one_map(image: np.ndarray, of_image: np.ndarray, opacity: float, side: int = 320) -> bytes:
    """PNG of one map `h w` in [0, 1] (or scaled to it) over one greyed image `H W 3`."""
    top = max(float(of_image.max()), 1e-12)
    tile = Image.fromarray(np.uint8(255 * overlay(small(image), of_image / top, opacity)))
    buffer = io.BytesIO()
    tile.resize((side, side), Image.Resampling.NEAREST).save(buffer, format="png")
    return buffer.getvalue()


# ---- numbers about maps -------------------------------------------------------------------------------------------


def faithfulness_figure(table: pd.DataFrame) -> Figure:
    """Insertion minus deletion area of each kind of map, mean and 95 % interval, with the baselines in grey.

    Args:
        table: from `vptlib.explanations.checklist.faithfulness_table`.
    """
    kinds = [*dict.fromkeys(kind for kind in table["kind"] if kind not in BASELINES), *reversed(BASELINES)]
    methods = list(dict.fromkeys(table["method"]))
    with styled_figure(1.35 + 0.52 * len(kinds) + (0.3 if is_narrow() else 0)) as (fig, ax):
        for row in table.itertuples():
            place = kinds.index(row.kind) + 0.3 * (methods.index(row.method) - (len(methods) - 1) / 2)
            colour = OPEN if row.kind in BASELINES else COLOURS[row.method]
            ax.plot([row.low, row.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="round")
            ax.plot(row.mean, place, MARKERS[row.method], color=colour, markersize=7, markeredgecolor=PAPER)
        ax.axvline(0, color=SOFT, linewidth=1)
        size = type_size(10)
        names = [wrapped(title_of_kind(kind), 1.0 if is_narrow() else 1.9, size) for kind in kinds]
        ax.set_yticks(range(len(kinds)), names)
        ax.set_ylim(len(kinds) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(4 if is_narrow() else 8))
        ax.tick_params(labelsize=size)
        plain_axes(ax, "x")
        says = _("Insertion minus deletion area (lines: 95\u202f% intervals). Right is better")
        ax.set_xlabel(wrapped(says, figure_width() - (1.3 if is_narrow() else 2.0), size), fontsize=type_size(10.5))
        grey = Line2D([], [], color=OPEN, linewidth=2.5, label=_("maps that know nothing"))
        fit(fig, key_above(ax, [*_marks(methods), grey]))
    return fig


def _marks(methods: Sequence[str]) -> list[Line2D]:
    """Line, marker and title of each method, for a key."""
    return [
        Line2D([], [], color=COLOURS[m], marker=MARKERS[m], linewidth=2.2, markeredgecolor=PAPER, label=words.title(m))
        for m in methods
    ]


def cascade_figure(table: pd.DataFrame) -> Figure:
    """How much of a map is left while its model forgets from the head down, a line for each model.

    Args:
        table: of one kind of map, from `vptlib.explanations.checklist.cascade_table`.
    """
    methods, steps = (list(dict.fromkeys(table[column])) for column in ("method", "step"))
    across, size = np.arange(len(steps) + 1), type_size(9.6)
    names = [_("as trained"), *(_step_title(step) for step in steps)]
    upright = is_narrow() or max(width_of(name, size) for name in names) > (figure_width() - 2.8) / len(names)
    with styled_figure(4.0 if is_narrow() else 4.2 if upright else 3.6) as (fig, ax):
        levels = ((1, _("the same map")), (SAME, _("half-way")), (0, _("map of another image")))
        for level, name in levels:
            ax.axhline(level, color=LINE, linewidth=1.5, zorder=0)
            name = wrapped(name, 0.7, size) if is_narrow() else name
            ax.text(len(steps) + 0.35, level, name, color=SOFT, fontsize=size, va="center")
        for number, method in enumerate(methods):
            rows = table[table["method"] == method].set_index("step").reindex(steps)
            shifted = across + 0.12 * (number - (len(methods) - 1) / 2)
            ax.plot(shifted, [1, *rows["mean"]], color=COLOURS[method], marker=MARKERS[method], linewidth=2)
            ax.vlines(shifted[1:], rows["low"], rows["high"], color=COLOURS[method], linewidth=2.5, alpha=0.4)
        lowest, highest = float(table["low"].min()), float(table["high"].max())
        ax.set_ylim(max(min(-0.3, lowest - 0.05), -1.2), min(max(1.1, highest + 0.05), 1.6))
        ax.set_xlim(-0.3, len(steps) + 0.25)
        ax.set_xticks(across, names)
        ax.tick_params(labelsize=size)
        ax.tick_params(axis="x", labelrotation=90 if upright else 0)
        ax.set_xlabel(_("Shuffled so far, from the head down"), fontsize=type_size(10.5))
        ax.set_ylabel(
            wrapped(_("Similarity to the trained model's map"), 1.9, type_size(10.5)), fontsize=type_size(10.5)
        )
        plain_axes(ax, "none")
        fit(fig, key_above(ax, _marks(methods)))
    return fig


def _step_title(step: str) -> str:
    if step.startswith("block "):
        return _("to block {n}").format(n=step.removeprefix("block "))
    return {"head": _("head"), "input": _("all")}.get(step, step)


# ---- inside the models --------------------------------------------------------------------------------------------


def attention_figure(found: Examination) -> Figure:
    """Attention distance of the heads, attention on prompts, and how much of the features tuning kept, per layer."""
    methods = list(found.looks)
    with styled_panels(2.5 if is_narrow() else 3.5, columns=3) as (fig, axes):
        far, share, kept = axes
        layers = np.arange(1, len(found.frozen_distances) + 1)
        lines = {None: found.frozen_distances} | {method: found.looks[method].distances for method in methods}
        for step, (method, values) in enumerate(lines.items()):
            colour, shift = _colour(method), 0.2 * (step - (len(lines) - 1) / 2)
            ahead = np.repeat(layers + shift, values.shape[1])
            far.plot(ahead, values.ravel(), ".", color=colour, alpha=0.35, markersize=5, markeredgewidth=0)
            far.plot(layers, values.mean(axis=1), color=colour, linewidth=2)
        far.axhline(found.even_distance, color=SOFT, linestyle="dotted", linewidth=1.2)
        for method in methods:
            look = found.looks[method]
            share.plot(layers, 100 * look.prompt_shares, color=_colour(method), marker=MARKERS[method], markersize=4)
            kept.plot(layers, look.kept, color=_colour(method), marker=MARKERS[method], markersize=4)
        far.set_ylim(0, 1.15 * max(found.even_distance, *(values.max() for values in lines.values())))
        share.set_ylim(0, max(1.0, 115 * max(look.prompt_shares.max() for look in found.looks.values())))
        kept.set_ylim(min(0, *(look.kept.min() for look in found.looks.values())), 1.05)
        titles = (_("Attention distance, pixels"), _("Attention on prompts, %"), _("Similarity to the frozen (CKA)"))
        heads = []
        for ax, title in zip(axes, titles, strict=True):
            heads += panel_head(ax, title)
            ax.set_xlabel(_("Layer"), fontsize=type_size(10))
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.tick_params(labelsize=type_size(9.6))
            plain_axes(ax)
        fit(fig, heads, below=_names_below(fig, methods))
    return fig


def _names_below(fig: Figure, methods: list[str]) -> float:
    """A key under the panels; gives its height in inches."""
    handles = [Line2D([], [], color=OPEN, linewidth=2, label=_("frozen backbone")), *_marks(methods)]
    handles.append(Line2D([], [], color=SOFT, linestyle="dotted", label=_("looking everywhere alike")))
    found = fig.legend(
        handles=handles, ncols=1 if is_narrow() else len(handles), loc="lower left", frameon=False,
        fontsize=type_size(9.6), borderaxespad=0.2,
    )  # fmt: skip
    return found.get_window_extent().height / fig.dpi + 0.06


def _colour(method: str | None) -> str:
    return COLOURS[method] if method else OPEN


def prompt_figure(values: np.ndarray, layers: Sequence[int] | None = None) -> Figure:
    """Which prompts, in which layer, supported or opposed the predicted class.

    Args:
        values: `L P`, shares of the logit, from `vptlib.explanations.maps.prompt_attribution`, averaged over images.
        layers: the numbers of the prompted blocks, from 0; by default 0, 1, ...
    """
    numbers = [str(layer + 1) for layer in (layers if layers is not None else range(len(values)))]
    high, size = 1.5 + 0.24 * max(len(values), 4), type_size(9.6)
    shape: dict[str, Any] = {"ncols": 2, "width_ratios": (2.2, 1)}
    if is_narrow():
        shape = {"nrows": 2, "height_ratios": (1.15, 1)}
    with text_style():
        fig, (ax, totals) = plt.subplots(
            **shape, figsize=(figure_width(), high * (1.9 if is_narrow() else 1)), dpi=dots(), layout="constrained"
        )
        _heat_map(fig, ax, values, numbers)
        _layer_sums(totals, values.sum(axis=1), numbers)
        for axes in (ax, totals):
            axes.tick_params(labelsize=size, colors=INK)
            axes.xaxis.label.set_fontsize(type_size(10))
            axes.yaxis.label.set_fontsize(type_size(10))
            plain_axes(axes, "none")
    plt.close(fig)
    fig.set_dpi(dots())
    return fig


def _heat_map(fig: Figure, ax: Axes, values: np.ndarray, numbers: list[str]) -> None:
    most, size = max(float(np.abs(values).max()), 1e-12), type_size(9.6)
    picture = ax.imshow(values, cmap=colormaps["PuOr_r"], vmin=-most, vmax=most, aspect="auto", interpolation="none")
    ax.set_yticks(range(len(values)), numbers)
    ax.set_xticks([])
    ax.set(ylabel=_("Layer"), xlabel=_("The {n} prompts of a layer").format(n=values.shape[1]))
    bar = fig.colorbar(picture, ax=ax, pad=0.02, ticks=[-most, 0, most], format="%.2g")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=size, colors=INK)
    _title_of(ax, _("For (orange) or against (purple) the class"), 2.2 if is_narrow() else 4.2)


def _layer_sums(ax: Axes, sums: np.ndarray, numbers: list[str]) -> None:
    colours = [colormaps["PuOr_r"](0.9 if value > 0 else 0.1) for value in sums]
    ax.barh(range(len(sums)), sums, color=colours, height=0.7)
    ax.set_ylim(len(sums) - 0.5, -0.5)
    ax.axvline(0, color=SOFT, linewidth=1)
    ax.set_yticks(range(len(sums)) if is_narrow() else [], numbers if is_narrow() else [])
    if is_narrow():
        ax.set_ylabel(_("Layer"))
    ax.set_xlabel(_("All prompts of a layer"))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    _title_of(ax, _("Added to the logit"), 2.2)


def _title_of(ax: Axes, text: str, inches: float) -> None:
    size = type_size(11)
    ax.set_title(wrapped(text, inches, size, bold=True), loc="left", fontsize=size, fontweight="bold")
