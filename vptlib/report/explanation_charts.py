"""Figures of explanations: maps next to each other with their numbers, their faithfulness, attention and prompts.

As in `vptlib.report.charts`: figures are closed for pyplot, and methods keep their colours and markers.
"""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
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
from vptlib.report.gradcam_page import MAP_COLOURS, RIGHT, WRONG, overlay, small
from vptlib.report.style import (
    COLOURS,
    DPI,
    LINE,
    MARKERS,
    OPEN,
    SOFT,
    TITLES,
    WIDTH,
    styled_figure,
    styled_panels,
    text_style,
)
from vptlib.wording import listed

_TITLES_OF_KINDS = {name: row.title for name, row in (EXPLANATIONS | BASELINES).items()}


def map_table(
    images: np.ndarray,
    class_names: Sequence[str],
    labels: np.ndarray,
    predictions: dict[str, np.ndarray],
    maps: dict[str, dict[str, np.ndarray]],
    gaps: dict[str, dict[str, np.ndarray]],
    opacity: float = 0.6,
) -> Figure:
    """Every kind of map for the same images, a row per image and model, with each map's number below it.

    All maps have one colour scale, from 0 to 1.

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
    tile, left, head, pitch, foot = 0.98, 1.62, 0.62, 1.23, 0.92
    across = (WIDTH - left - 0.02) / (len(kinds) + 1)
    tile = min(tile, across - 0.1)
    height = head + len(images) * len(maps) * pitch + foot
    with text_style():
        figure = plt.figure(figsize=(WIDTH, height), dpi=90)

        def write(x: float, y: float, text: str, **options) -> None:
            figure.text(x / WIDTH, 1 - y / height, text, **({"fontsize": 9, "va": "baseline"} | options))

        def show(x: float, y: float, picture: np.ndarray, colour: str, style: str) -> None:
            axes = figure.add_axes((x / WIDTH, 1 - (y + tile) / height, tile / WIDTH, tile / height))
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=colour, linestyle=style, linewidth=1.2)

        for column, name in enumerate(["Image", *(_TITLES_OF_KINDS[kind] for kind in kinds)]):
            heading = textwrap.fill(name, 11, break_long_words=False)
            write(left + column * across, head - 0.1, heading, fontsize=9.5, fontweight="bold", linespacing=1.05)
        top = head
        for item, image in enumerate(images):
            picture = small(image)
            for method, of_method in maps.items():
                guess = predictions[method][item]
                sign, colour, style = RIGHT if guess == labels[item] else WRONG
                write(0.02, top + 0.16, TITLES[method], fontweight="bold", color=COLOURS[method])
                answer = textwrap.shorten(f"{sign} {class_names[guess]}", 44, placeholder="…")
                write(0.02, top + 0.24, textwrap.fill(answer, 22), color=colour, va="top", linespacing=1.15)
                write(0.02, top + tile + 0.13, "insertion − deletion", color=SOFT, fontsize=8.2)
                show(left, top, picture, LINE, "solid")
                for column, kind in enumerate(kinds, start=1):
                    x = left + column * across
                    show(x, top, overlay(picture, of_method[kind][item], opacity), colour, style)
                    value = f"{gaps[method][kind][item]:+.2f}".replace("-", "\u2212")
                    write(x + tile / 2, top + tile + 0.13, value, ha="center", fontsize=8.2, color=SOFT)
                top += pitch
        _map_scale(figure, write, top + 0.1, height)
    plt.close(figure)
    return figure


def _map_scale(figure: Figure, write, top: float, height: float) -> None:
    axes = figure.add_axes((0.02 / WIDTH, 1 - (top + 0.3) / height, 1.4 / WIDTH, 0.14 / height))
    axes.imshow(np.linspace(0, 1, 128)[None], cmap=MAP_COLOURS, aspect="auto")
    axes.set_axis_off()
    write(0.02, top + 0.1, "Spoke for the class")
    write(0.02, top + 0.46, "least")
    write(1.42, top + 0.46, "most", ha="right")
    class_blind = listed(row.title.lower() for row in EXPLANATIONS.values() if not row.class_aware)
    text = (
        "Each map is for the class that the model predicts (✓ right, ✗ wrong: dashed frames) and is scaled by itself; "
        f"{class_blind} know no class. The number: area under the insertion curve less that under the deletion "
        "curve. Near 0, what the map marks matters no more than any other part of the image."
    )
    write(1.75, top + 0.1, textwrap.fill(text, 96), linespacing=1.3, fontsize=8.6, va="top")


def one_map(image: np.ndarray, of_image: np.ndarray, opacity: float, side: int = 320) -> bytes:
    """PNG of one map `h w` in [0, 1] (or scaled to it) over one greyed image `H W 3`."""
    top = max(float(of_image.max()), 1e-12)
    tile = Image.fromarray(np.uint8(255 * overlay(small(image), of_image / top, opacity)))
    buffer = io.BytesIO()
    tile.resize((side, side), Image.Resampling.NEAREST).save(buffer, format="png")
    return buffer.getvalue()


def faithfulness_figure(table: pd.DataFrame) -> Figure:
    """Insertion minus deletion area of each kind of map, mean and 95 % interval, with the baselines in grey.

    Args:
        table: from `vptlib.explanations.checklist.faithfulness_table`.
    """
    kinds = [*dict.fromkeys(kind for kind in table["kind"] if kind not in BASELINES), *reversed(BASELINES)]
    methods = list(dict.fromkeys(table["method"]))
    with styled_figure(1.25 + 0.52 * len(kinds)) as (fig, ax):
        for row in table.itertuples():
            place = kinds.index(row.kind) + 0.3 * (methods.index(row.method) - (len(methods) - 1) / 2)
            colour = OPEN if row.kind in BASELINES else COLOURS[row.method]
            ax.plot([row.low, row.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="round")
            ax.plot(row.mean, place, MARKERS[row.method], color=colour, markersize=7, markeredgecolor="white")
        ax.axvline(0, color=SOFT, linewidth=1)
        ax.set_yticks(range(len(kinds)), [_TITLES_OF_KINDS[kind] for kind in kinds])
        ax.set_ylim(len(kinds) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
        ax.tick_params(length=0, labelsize=10)
        sns.despine(ax=ax, left=True, bottom=True)
        ax.set_xlabel("Insertion minus deletion area (lines: 95\u202f% intervals). Right is better", fontsize=10.5)
        _legend_above(ax, methods)
        fig.subplots_adjust(
            left=0.185, right=0.98, top=1 - 0.42 / fig.get_figheight(), bottom=0.62 / fig.get_figheight()
        )
    return fig


def _legend_above(ax: Axes, methods: list[str]) -> None:
    """Marker and name of each method, and the meaning of grey, in a line above the axes."""
    handles = [
        Line2D([], [], color=COLOURS[m], marker=MARKERS[m], linewidth=2.5, markeredgecolor="white", label=TITLES[m])
        for m in methods
    ]
    handles.append(Line2D([], [], color=OPEN, linewidth=2.5, label="maps that know nothing"))
    ax.legend(
        handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(-0.01, 1.0), frameon=False, fontsize=10
    )


def cascade_figure(table: pd.DataFrame) -> Figure:
    """How much of a map is left while its model forgets from the head down, a line for each model.

    Args:
        table: of one kind of map, from `vptlib.explanations.checklist.cascade_table`.
    """
    methods, steps = (list(dict.fromkeys(table[column])) for column in ("method", "step"))
    across = np.arange(len(steps) + 1)
    with styled_figure(3.4) as (fig, ax):
        for level, name in ((1, "the same map"), (SAME, "half-way"), (0, "map of another image")):
            ax.axhline(level, color=LINE, linewidth=1.5, zorder=0)
            ax.text(len(steps) + 0.3, level, name, color=SOFT, fontsize=9.5, va="center")
        for number, method in enumerate(methods):
            rows = table[table["method"] == method].set_index("step").reindex(steps)
            shifted = across + 0.12 * (number - (len(methods) - 1) / 2)
            ax.plot(shifted, [1, *rows["mean"]], color=COLOURS[method], marker=MARKERS[method], linewidth=2)
            ax.vlines(shifted[1:], rows["low"], rows["high"], color=COLOURS[method], linewidth=2.5, alpha=0.4)
        lowest, highest = float(table["low"].min()), float(table["high"].max())
        ax.set_ylim(max(min(-0.3, lowest - 0.05), -1.2), min(max(1.1, highest + 0.05), 1.6))
        ax.set_xlim(-0.3, len(steps) + 0.25)
        ax.set_xticks(across, ["as trained", *(_step_title(step) for step in steps)])
        ax.set_xlabel("Shuffled so far, from the head down", fontsize=10.5)
        ax.set_ylabel("Similarity to the trained\nmodel's map", fontsize=10.5)
        ax.tick_params(length=0, labelsize=9.5)
        ax.grid(visible=False)
        sns.despine(ax=ax, left=True, bottom=True)
        handles = [Line2D([], [], color=COLOURS[m], marker=MARKERS[m], linewidth=2, label=TITLES[m]) for m in methods]
        ax.legend(
            handles=handles,
            ncols=len(handles),
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            frameon=False,
            fontsize=10,
        )
        fig.subplots_adjust(left=0.105, right=0.82, top=0.88, bottom=0.19)
    return fig


def _step_title(step: str) -> str:
    return {"head": "head", "input": "all"}.get(step, "to " + step)


def attention_figure(found: Examination) -> Figure:
    """Attention distance of the heads, attention on prompts, and how much of the features tuning kept, per layer."""
    methods = list(found.looks)
    with styled_panels(3.5, columns=3) as (fig, axes):
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
        titles = ("Attention distance, pixels", "Attention on prompts, %", "Similarity to the frozen (CKA)")
        for ax, title in zip(axes, titles, strict=True):
            ax.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=8)
            ax.set_xlabel("Layer", fontsize=10)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.tick_params(length=0, labelsize=9.5)
            sns.despine(ax=ax, left=True, bottom=True)
        fig.subplots_adjust(left=0.045, right=0.99, wspace=0.2, top=0.9, bottom=0.3)
        _names_below(fig, methods)
    return fig


def _names_below(fig: Figure, methods: list[str]) -> None:
    handles = [Line2D([], [], color=OPEN, linewidth=2, label="frozen backbone")]
    handles += [
        Line2D([], [], color=COLOURS[m], marker=MARKERS[m], markersize=5, linewidth=2, label=TITLES[m]) for m in methods
    ]
    handles.append(Line2D([], [], color=SOFT, linestyle="dotted", label="looking everywhere alike"))
    fig.legend(handles=handles, ncols=len(handles), loc="lower center", frameon=False, fontsize=9.5)


def _colour(method: str | None) -> str:
    return COLOURS[method] if method else OPEN


def prompt_figure(values: np.ndarray, layers: Sequence[int] | None = None) -> Figure:
    """Which prompts, in which layer, supported or opposed the predicted class.

    Args:
        values: `L P`, shares of the logit, from `vptlib.explanations.maps.prompt_attribution`, averaged over images.
        layers: the numbers of the prompted blocks, from 0; by default 0, 1, ...
    """
    numbers = [layer + 1 for layer in (layers if layers is not None else range(len(values)))]
    most = max(float(np.abs(values).max()), 1e-12)
    with text_style():
        fig, (ax, totals) = plt.subplots(
            1,
            2,
            figsize=(WIDTH, 1.5 + 0.24 * max(len(values), 4)),
            dpi=DPI,
            width_ratios=(2.2, 1),
            layout="constrained",
        )
        picture = ax.imshow(values, cmap=colormaps["PuOr_r"], vmin=-most, vmax=most, aspect="auto")
        ax.set_yticks(range(len(values)), numbers)
        ax.set_xticks([])
        ax.set(ylabel="Layer", xlabel=f"The {values.shape[1]} prompts of a layer")
        bar = fig.colorbar(picture, ax=ax, pad=0.02, ticks=[-most, 0, most], format="%.2g")
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        sums = values.sum(axis=1)
        totals.barh(
            range(len(sums)), sums, color=[colormaps["PuOr_r"](0.9 if v > 0 else 0.1) for v in sums], height=0.7
        )
        totals.set_ylim(len(sums) - 0.5, -0.5)
        totals.axvline(0, color=SOFT, linewidth=1)
        totals.set_yticks([])
        totals.set_xlabel("All prompts of a layer")
        totals.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title("For (orange) or against (purple) the class", loc="left", fontsize=11, fontweight="bold")
        totals.set_title("Added to the logit", loc="left", fontsize=11, fontweight="bold")
        for axes in (ax, totals):
            axes.tick_params(length=0, labelsize=9.5)
            sns.despine(ax=axes, left=True, bottom=True)
    plt.close(fig)
    return fig
