"""The figures of the course. A cell gives data to one of these functions and shows what comes back with `display`.

Each function gives a matplotlib figure that pyplot does not keep open, so a notebook shows it once. A line is labelled
where it ends, not in a legend. Colour-blind people can distinguish the colours.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from vptlib.evidence.curves import PowerLaw
from vptlib.evidence.similarity import SIMILAR_OBJECTIVES
from vptlib.evidence.stages import OPERATE, PILOT
from vptlib.report.charts import spread_apart
from vptlib.report.fonts import families, wrapped
from vptlib.report.style import COLOURS, TITLES
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.tuning.search import Between, best_setting
from vptlib.tuning.training import History


@contextmanager
def new_figure(size: tuple[float, float]) -> Iterator[Figure]:
    """A figure of the course, closed for pyplot at the end; width and height in inches.

    It comes from pyplot, because a notebook shows only such figures as pictures.
    """
    figure = plt.figure(figsize=size, layout="constrained")
    try:
        with plt.rc_context({"font.family": families()}):
            yield figure
    finally:
        plt.close(figure)


def settle(figure: Figure) -> None:
    """Lay the figure out once. Text outside the axes has its place after two layouts, the second when it is shown."""
    figure.draw_without_rendering()


def hide_spines(axis: Axes, *sides: str) -> None:
    """Take away lines of the frame: those named, or else the top and the right one."""
    axis.spines[list(sides or ("top", "right"))].set_visible(False)


# ---- 01: tokens and prompts -------------------------------------------------------------------------------------

CLASS, PROMPT, PATCH = "#C95500", "#0072B2", "#6B6B6B"  # the colours of the three kinds of token
COLUMNS = 40  # numbers of a token that are shown


def image_to_tokens(image: Tensor, tokens: Tensor, patch: int) -> Figure:
    """An image, its patches, and the first numbers of its tokens.

    Args:
        image: `3 H H`, square.
        tokens: `T D`: the class token, registers if there are any, then the patches row by row.
        patch: side of a patch in pixels.
    """
    picture = ((image - image.min()) / (image.max() - image.min())).permute(1, 2, 0).numpy()  # H H 3
    size = len(picture)
    number = (size // patch) ** 2
    with new_figure((8.6, 3.3)) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.6])
        left.imshow(picture)
        _draw_patches(middle, picture, patch)
        left.set_title(f"image 3 × {size} × {size}", fontsize=10, loc="left")
        middle.set_title(f"→ {number} patches 3 × {patch} × {patch}", fontsize=10, loc="left")
        left.set_axis_off()
        middle.set_axis_off()
        _draw_numbers(right, tokens.numpy(), prefix=len(tokens) - number)
    return figure


def _draw_patches(axis: Axes, picture: np.ndarray, patch: int) -> None:
    """The patches of a picture `H H 3` with gaps between them, numbered while there is room."""
    side = len(picture) // patch
    step = patch + patch // 4
    for i in range(side**2):
        top, start = i // side * patch, i % side * patch
        y, x = i // side * step, i % side * step
        cut = picture[top : top + patch, start : start + patch]
        axis.imshow(cut, extent=(x, x + patch, y + patch, y), vmin=0, vmax=1)
        if side <= 8:
            axis.text(x + 1, y + 1, str(i + 1), color="white", fontsize=8, va="top", bbox={"color": PATCH, "pad": 1})
    axis.set(xlim=(0, side * step), ylim=(side * step, 0))


def _draw_numbers(axis: Axes, tokens: np.ndarray, prefix: int) -> None:
    """The first numbers of tokens `T D` as colours, a row for each token; the first `prefix` are no patches."""
    total, width = tokens.shape
    shown = tokens[:, :COLUMNS]  # T 40
    limit = np.quantile(np.abs(shown), 0.97)
    axis.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ticks = range(total) if total <= 40 else [0, total - 1]
    names = {i: "class token" if i == 0 else f"register {i}" if i < prefix else f"{i - prefix + 1}" for i in ticks}
    axis.set_yticks(list(names), names.values(), fontsize=8)
    for i, label in zip(names, axis.get_yticklabels(), strict=True):
        label.set_color(CLASS if i < prefix else PATCH)
    axis.set_xticks([])
    axis.set_xlabel(f"the first {COLUMNS} of {width} numbers (red above 0, blue below)", fontsize=9)
    axis.set_title(f"→ {total} tokens of width {width}", fontsize=10, loc="left")
    hide_spines(axis)


def sequence_by_layer(parts: tuple[int, int, int], depth: int) -> Figure:
    """VPT-shallow and VPT-deep side by side: a row of tokens for each layer, the input below.

    Lines join what a layer hands on.

    Args:
        parts: how many tokens of each kind: class token with registers, prompts, patches.
        depth: number of layers; of more than four, the first three and the last are drawn.
    """
    layers = list(range(1, depth + 1)) if depth <= 4 else [1, 2, 3, depth]
    with new_figure((8.8, 3.8)) as figure:
        shallow, deep = figure.subplots(1, 2, sharey=True)
        for axis, is_deep in ((shallow, False), (deep, True)):
            _draw_sequence(axis, parts, layers, is_deep)
        shallow.set_title("VPT-shallow: put in once, handed on", fontsize=10, loc="left")
        deep.set_title("VPT-deep: fresh in every layer (× thrown away)", fontsize=10, loc="left")
    return figure


def _draw_sequence(axis: Axes, parts: tuple[int, int, int], layers: list[int], is_deep: bool) -> None:
    prefix, prompts, patches = parts
    rows = len(layers)
    colours = [CLASS] * prefix + [PROMPT] * min(prompts, 10) + [PATCH] * min(patches, 16)  # no more than fit
    across = np.arange(len(colours)) + 0.8 * np.cumsum([0] + [a != b for a, b in pairwise(colours)])
    for row in range(rows + 1):  # the last row is what the head gets
        skips = row + 1 < rows and layers[row + 1] > layers[row] + 1
        for x, colour in zip(across, colours, strict=True):
            if colour == PROMPT:
                _draw_prompt(axis, x, row, rows, is_deep)
            else:
                _draw_token(axis, x, row, colour)
            if row < rows and not (colour == PROMPT and (is_deep or row == rows - 1)):
                axis.plot([x, x], [row + 0.24, row + 0.76], ":" if skips else "-", color=colour, alpha=0.6, lw=1)
    for colour, text in ((CLASS, "class"), (PROMPT, f"{prompts} prompts"), (PATCH, f"{patches} patches")):
        where = [x for x, of_token in zip(across, colours, strict=True) if of_token == colour]
        if where:
            axis.text(
                float(np.mean(where)), -0.35, text, ha="center", va="top", color=colour, fontsize=9, fontweight="bold"
            )
    axis.set(xlim=(-1.8, across[-1] + 1), ylim=(-0.8, rows + 0.3), xticks=[])
    axis.set_yticks(range(rows + 1), [*(f"into layer {number}" for number in layers), "to the head"])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _draw_prompt(axis: Axes, x: float, row: int, rows: int, is_deep: bool) -> None:
    """A prompt in one row: fresh ones have a shade for each layer, those handed on are pale; × ends one."""
    if row == rows:
        return
    if is_deep:
        shades = colormaps["Blues"](np.linspace(0.45, 1, rows))
        _draw_token(axis, x, row, shades[row])
    else:
        _draw_token(axis, x, row, PROMPT, alpha=0.4 if row > 0 else 1)
    if is_deep or row == rows - 1:
        axis.text(x, row + 0.47, "×", ha="center", va="center", color=PROMPT, fontsize=9)


def _draw_token(axis: Axes, x: float, row: int, colour, alpha: float = 1) -> None:
    axis.add_patch(Rectangle((x - 0.4, row - 0.2), 0.8, 0.4, facecolor=colour, alpha=alpha, lw=0))


def attention_on_prompts(
    weights: np.ndarray, spent: Mapping[str, np.ndarray], parts: tuple[int, int, int], title: str
) -> Figure:
    """One attention matrix with its regions, and what the class token spends on the prompts in all layers.

    Args:
        weights: `T T`, a row for each token that asks.
        spent: name of a line → `L 3`, the class token's attention on each kind; the first line is dotted.
        parts: how many tokens of each kind: class token with registers, prompts, patches.
        title: above the matrix.
    """
    with new_figure((8.8, 4.5)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        image = left.imshow(weights, cmap="Greys", vmin=0, vmax=np.quantile(weights, 0.98))
        _mark_regions(left, parts)
        left.set_xlabel("rows ask, columns answer\nhatched: rows that nobody reads in VPT-deep")
        left.set_title(title, fontsize=10, pad=28)
        figure.colorbar(image, ax=left, shrink=0.5, label="attention weight", extend="max")
        _draw_shares(right, {name: table[:, 1] for name, table in spent.items()}, parts[1] / sum(parts))
        right.set_title("Class token's attention on the prompts, %", fontsize=10, loc="left", pad=28)
    return figure


def _mark_regions(axis: Axes, parts: tuple[int, int, int]) -> None:
    """Name the regions of an attention matrix on both sides, and hatch the rows of the prompts."""
    prefix, prompts, _ = parts
    total, start = sum(parts), 0
    for size, name, colour in zip(parts, ("class", "prompts", "patches"), (CLASS, PROMPT, PATCH), strict=True):
        middle, side = start + size / 2 - 0.5, "center" if start else "right"
        axis.text(middle, -1.6, name, color=colour, ha=side, va="bottom", fontweight="bold")
        axis.text(-1.6, middle, name, color=colour, ha="right", va="center", fontweight="bold")
        axis.add_patch(Rectangle((start - 0.4, -1.3), size - 0.2, 0.5, color=colour, lw=0, clip_on=False))
        axis.add_patch(Rectangle((-1.3, start - 0.4), 0.5, size - 0.2, color=colour, lw=0, clip_on=False))
        if start:
            axis.axvline(start - 0.5, color=colour, lw=1)
            axis.axhline(start - 0.5, color=colour, lw=1)
        start += size
    hatched = {"facecolor": "none", "edgecolor": PROMPT, "hatch": "///", "lw": 0, "alpha": 0.35}
    axis.add_patch(Rectangle((-0.5, prefix - 0.5), total, prompts, **hatched))
    axis.set(xticks=[], yticks=[], xlim=(-0.5, total - 0.5), ylim=(total - 0.5, -0.5))
    axis.spines[:].set_visible(False)


def _draw_shares(axis: Axes, shares: Mapping[str, np.ndarray], alike: float) -> None:
    """Shares `L` (fractions) by layer, the first line dotted; `alike` is the share if all tokens had the same."""
    for (name, values), style in zip(shares.items(), (":", "-"), strict=True):
        layers = np.arange(1, len(values) + 1)
        axis.plot(layers, 100 * values, style, color=PROMPT, marker="o", ms=4)
        axis.text(layers[-1] + 0.3, 100 * values[-1], name, color=PROMPT, va="center", fontweight="bold")
    last = layers[-1]
    axis.axhline(100 * alike, color=PATCH, lw=1, xmax=last / (last + 3.6))
    axis.text(last + 0.3, 100 * alike, "if all alike", color=PATCH, va="center")
    axis.set(ylim=(0, None), xticks=layers, xlim=(0.7, last + 3.6), xlabel="layer")
    hide_spines(axis)


# ---- 02: training -----------------------------------------------------------------------------------------------


def loss_curves(histories: Mapping[str, History], classes: int, trained_on: int, held_out: int) -> Figure:
    """Training loss and held-out loss of several methods, and the loss of guessing.

    Args:
        histories: method → what happened in training.
        classes: of the task.
        trained_on: number of training images.
        held_out: number of held-out images.
    """
    steps = max(len(history.train_loss) for history in histories.values())
    with new_figure((11, 3.6)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for method, history in histories.items():
            left.plot(history.steps, _smooth(history.train_loss), color=COLOURS[method])
            right.plot(history.val_steps, history.val_loss, color=COLOURS[method], marker="o", markersize=4)
        left.set(title=f"{trained_on} training images (mean of 5 steps)", ylabel="cross-entropy loss")
        right.set(title=f"{held_out} held-out images", ylim=(0, None))
        for axis in (left, right):
            axis.set(xlabel="step", xlim=(0, 1.02 * steps))
            axis.axhline(np.log(classes), color="grey", linestyle=":")
            hide_spines(axis)
        left.text(1.04 * steps, np.log(classes), "guessing", color="grey", va="center")
        _name_curves(left, 1.04 * steps, {method: _smooth(h.train_loss)[-1] for method, h in histories.items()})
        _name_curves(right, 1.04 * steps, {method: h.val_loss[-1] for method, h in histories.items()})
        settle(figure)
    return figure


def _smooth(losses: list[float]) -> np.ndarray:
    """Mean over the last 5 steps (fewer at the beginning)."""
    return pd.Series(losses).rolling(5, min_periods=1).mean().to_numpy()


def _name_curves(axis: Axes, x: float, ends: Mapping[str, float]) -> None:
    """Write each method's title at the end of its curve, pushed up where two would overlap."""
    line_height, y = 0.08 * axis.get_ylim()[1], -np.inf
    for method, end in sorted(ends.items(), key=lambda item: item[1]):
        y = max(end, y + line_height)
        axis.text(x, y, TITLES[method], color=COLOURS[method], va="center")


def rate_sweep(sweep: pd.DataFrame) -> Figure:
    """Held-out loss and accuracy of each method against its learning rate.

    Args:
        sweep: a row for each run: method, rate, loss, accuracy (a fraction). A method's name stands at its middle row.
    """
    with new_figure((11, 3.4)) as figure:
        left, right = figure.subplots(1, 2)
        for method, rows in sweep.groupby("method"):
            left.plot(rows.rate, rows.loss, color=COLOURS[method], marker="o")
            right.plot(rows.rate, 100 * rows.accuracy, color=COLOURS[method], marker="o")
            name = {"s": TITLES[method], "color": COLOURS[method], "ha": "center"}
            middle = rows.iloc[len(rows) // 2]
            left.text(middle.rate, middle.loss - 0.15, va="top", **name)
            right.text(middle.rate, 100 * middle.accuracy + 3, va="bottom", **name)
        left.set_ylabel("held-out loss")
        right.set_ylabel("held-out accuracy, %")
        for axis in (left, right):
            axis.set(xscale="log", xlabel="learning rate")
            axis.margins(x=0.08, y=0.2)
            hide_spines(axis)
    return figure


def loss_gaps(histories: Mapping[str, History]) -> Figure:
    """Training loss (dashed) and held-out loss, a panel for each method, with the gap between their ends.

    Args:
        histories: method → what happened in training; two or more.
    """
    with new_figure((11, 3.6)) as figure:
        axes = figure.subplots(1, len(histories), sharey=True)
        for axis, (method, history) in zip(axes, histories.items(), strict=True):
            _draw_gap(axis, history, COLOURS[method])
            axis.set(title=TITLES[method], xlabel="step", ylim=(-0.2, None))
            hide_spines(axis)
        axes[0].set_ylabel("cross-entropy loss")
    return figure


def _draw_gap(axis: Axes, history: History, colour: str) -> None:
    steps, training = len(history.train_loss), _smooth(history.train_loss)
    axis.plot(history.steps, training, color=colour, linestyle="--")
    axis.plot(history.val_steps, history.val_loss, color=colour, marker="o", markersize=4)
    low, high = training[-1], history.val_loss[-1]
    arrow = {"arrowstyle": "<->", "color": "grey"}
    axis.annotate("", (1.02 * steps, low), (1.02 * steps, high), arrowprops=arrow)
    axis.text(1.04 * steps, (low + high) / 2, f"gap {high - low:.2f}", va="center")
    axis.text(1.04 * steps, high, "held out", va="bottom", color=colour)
    axis.text(1.04 * steps, low, "training", va="top", color=colour)
    axis.set(xlim=(0, 1.2 * steps), xticks=np.linspace(0, steps, 5))


# ---- 03: data scaling -------------------------------------------------------------------------------------------


def power_laws(laws: Mapping[str, PowerLaw], accuracy: pd.DataFrame) -> Figure:
    """Errors as measured (dots), and the power laws through them with their bands, up to twice the largest size.

    Args:
        laws: method → its law.
        accuracy: mean accuracy (a fraction), a row for each method and a column for each size.
    """
    sizes = list(accuracy.columns)
    ahead = np.geomspace(sizes[0], 2 * sizes[-1], 60)
    with new_figure((8, 4)) as figure:
        axis = figure.subplots()
        for method, law in laws.items():
            fit, best, worst = 1 - np.array([law.predict(size) for size in ahead]).T  # 60 each: errors
            axis.fill_between(ahead, best, worst, color=COLOURS[method], alpha=0.15, linewidth=0)
            axis.plot(ahead, fit, color=COLOURS[method])
            axis.plot(sizes, 1 - accuracy.loc[method], "o", color=COLOURS[method])
            axis.text(1.03 * ahead[-1], fit[-1], TITLES[method], color=COLOURS[method], va="center")
        axis.axvline(sizes[-1], color="grey", linestyle=":")
        axis.text(1.02 * sizes[-1], axis.get_ylim()[1], "nobody has looked here", color="grey", va="top")
        axis.set(xscale="log", yscale="log", xlabel="labelled images n", ylabel="error on test images")
        ticks = [*sizes, 2 * sizes[-1]]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_yticks([0.15, 0.2, 0.3, 0.4, 0.5], ["15 %", "20 %", "30 %", "40 %", "50 %"])
        axis.minorticks_off()
        hide_spines(axis)
        settle(figure)
    return figure


def leads_by_setting(printed: pd.DataFrame) -> Figure:
    """VPT less full fine-tuning in each setting of published tables: a dot for each task, coloured by its group.

    Args:
        printed: from `vptlib.evidence.published.comparisons`.
    """
    colours = {"natural": "#009E73", "specialised": "#AA4499", "structured": "#5a6675"}
    settings = dict([*printed.groupby("setting", sort=False)])
    with new_figure((9.5, 4.6)) as figure:
        axis = figure.subplots()
        for row, tasks in enumerate(settings.values()):
            lead = tasks.vpt - tasks.full
            for shift, (group, colour) in zip((-0.2, 0, 0.2), colours.items(), strict=True):
                here = lead[tasks.group == group]
                axis.plot(here, np.full(len(here), row + shift), "o", color=colour, alpha=0.75, markersize=6)
            ahead = f"{(lead > 0).sum()} of {len(lead)}"
            axis.text(1.02, row, ahead, transform=axis.get_yaxis_transform(), va="center", fontweight="bold")
        axis.text(1.02, -0.75, "VPT ahead", transform=axis.get_yaxis_transform(), va="center")
        for k, (group, colour) in enumerate(colours.items()):
            axis.text(0.03 + 0.14 * k, 1.02, group, color=colour, transform=axis.transAxes, fontweight="bold")
        axis.axvline(0, color="grey", lw=1)
        axis.set(yticks=range(len(settings)), ylim=(len(settings) - 0.5, -0.6))
        axis.set_yticklabels(settings)
        axis.set_xlabel("VPT less full fine-tuning, points of accuracy; a dot is a task of Han et al.")
        hide_spines(axis)
        settle(figure)
    return figure


def leads_by_baseline(leads: Mapping[str, Mapping[str, pd.Series]]) -> Figure:
    """Methods less full fine-tuning, once for each baseline: a dot for each task, a diamond for the mean.

    Args:
        leads: method → name of the baseline → leads in points, one for each task. All methods have the same baselines.
    """
    rows = [(method, name, of_tasks) for method, by_name in leads.items() for name, of_tasks in by_name.items()]
    with new_figure((9, 0.9 + 0.42 * len(rows))) as figure:
        axis = figure.subplots()
        first = next(iter(leads[rows[0][0]]))  # the baseline with filled diamonds
        for row, (method, name, of_tasks) in enumerate(rows):
            mean, colour = of_tasks.mean(), COLOURS[method]
            axis.plot(of_tasks, np.full(len(of_tasks), row), "o", color=colour, alpha=0.35, markersize=5)
            axis.plot(mean, row, "D", color=colour, markersize=8, fillstyle="full" if name == first else "none")
            _write_at_the_right(axis, row, f"{mean:+.1f}", f"{(of_tasks > 0).sum()} of {len(of_tasks)}")
        _write_at_the_right(axis, -0.8, "mean", "ahead on")
        axis.axvline(0, color="grey", lw=1)
        name_rows(axis, [f"{TITLES[method]} against {name}" for method, name, _ in rows])
        for (method, _, _), label in zip(rows, axis.get_yticklabels(), strict=True):
            label.set_color(COLOURS[method])
        axis.set(ylim=(len(rows) - 0.5, -0.6))
        axis.set_xlabel("less full fine-tuning, points of accuracy (a dot: a task; a diamond: their mean)")
        settle(figure)
    return figure


def _write_at_the_right(axis: Axes, row: float, *columns: str) -> None:
    """Text in columns to the right of an axis, at the height of a row."""
    for k, text in enumerate(columns):
        axis.text(1.02 + 0.11 * k, row, text, transform=axis.get_yaxis_transform(), va="center", fontweight="bold")


# ---- 04: GradCAM ------------------------------------------------------------------------------------------------


def name_rows(axis: Axes, names: Iterable[str]) -> None:
    """Names in place of the y axis, for rows 0, 1, 2, ..."""
    names = list(names)
    axis.set_yticks(range(len(names)), names, parse_math=False)
    axis.tick_params(axis="y", length=0)
    hide_spines(axis, "top", "right", "left")


def shares_in_rows(intervals: Mapping[str, tuple[float, float, float]], colours: Mapping[str, str]) -> Figure:
    """A row for each kind of map: which share of it lies on the sprite, with its interval and the mean in figures.

    Args:
        intervals: name → mean, low end, high end (fractions); the first is drawn at the top.
        colours: name → colour; the others are grey.
    """
    with new_figure((8, 0.5 + 0.38 * len(intervals))) as figure:
        axis = figure.subplots()
        for row, (name, interval) in enumerate(intervals.items()):
            mean, low, high = 100 * np.array(interval)
            colour = colours.get(name, "0.45")
            axis.plot([low, high], [row, row], color=colour, linewidth=3, solid_capstyle="round")
            axis.plot(mean, row, "o", color=colour)
            axis.text(high + 0.8, row, f"{mean:.1f}", va="center", fontsize=9)
        axis.set(xlim=(0, None), xlabel="share of the map on the sprite, % (lines: 95 % intervals)")
        axis.margins(x=0.08)
        axis.invert_yaxis()
        axis.tick_params(length=0)
        name_rows(axis, intervals)
        settle(figure)
    return figure


def trained_among_untrained(trained: Mapping[str, float], untrained: Mapping[str, np.ndarray]) -> Figure:
    """Share of the maps on the sprite: the trained model (diamond) among untrained ones (dots), a row for each method.

    Args:
        trained: method → share, a fraction.
        untrained: method → shares `U` of untrained models.
    """
    with new_figure((8, 1.9)) as figure:
        axis = figure.subplots()
        for row, (method, share) in enumerate(trained.items()):
            by_chance = untrained[method]  # U
            axis.plot(100 * by_chance, np.full(len(by_chance), row), "o", color="0.45", markersize=9, alpha=0.5)
            axis.plot(100 * share, row, "D", color=COLOURS[method], markersize=9)
            as_good = f"{(by_chance >= share).sum()} of {len(by_chance)} untrained models do as well or better"
            axis.text(0, row - 0.28, as_good, fontsize=9, color="0.3")
        axis.set(xlim=(0, None), ylim=(len(trained) - 0.6, -0.6))
        axis.set_xlabel("share of the maps on the sprite, % (diamond: trained; dots: untrained)")
        axis.tick_params(length=0)
        name_rows(axis, [TITLES[method] for method in trained])
    return figure


# ---- 05: prompt design ------------------------------------------------------------------------------------------


def accuracy_by_length(by_rate: Mapping[float, pd.Series], lengths: Sequence[int], half: float, guess: float) -> Figure:
    """Held-out accuracy against the number of prompts, a curve for each of three learning rates.

    Args:
        by_rate: learning rate → accuracies (fractions), one for each length.
        lengths: numbers of prompts per layer, from 1 to 50.
        half: half the width of the 95 % intervals, a fraction.
        guess: accuracy of guessing, a fraction.
    """
    with new_figure((8, 3.8)) as figure:
        axis = figure.subplots()
        ends = spread_apart([100 * values.iloc[-1] for values in by_rate.values()], [3.5] * len(by_rate), (0, 55))
        colours = ("#56B4E9", COLOURS["vpt-deep"], "#7A3E9D")
        for (rate, values), end, colour in zip(by_rate.items(), ends, colours, strict=True):
            axis.errorbar(lengths, 100 * values.to_numpy(), 100 * half, fmt="o-", color=colour, capsize=3)
            axis.text(55, end, f"rate {rate:g}", color=colour, va="center")
        axis.plot([1, 50], [100 * guess] * 2, color="grey", linestyle=":")
        axis.text(1.1, 100 * guess - 0.8, "guessing", color="grey", va="top")
        axis.set(xscale="log", xlabel="prompts per layer", xlim=(0.9, 90))
        axis.set(ylabel="held-out accuracy, %", ylim=(0, None))
        axis.set_xticks(lengths, [str(length) for length in lengths])
        axis.minorticks_off()
        hide_spines(axis)
    return figure


def differences_in_rows(accuracy: pd.DataFrame, reference: pd.Series, half: float) -> Figure:
    """Designs against a reference design: a diamond with its 95 % interval for each, grey where 0 lies inside.

    Args:
        accuracy: fractions, designs × seeds; each seed is a small dot.
        reference: accuracy of the reference by seed; its name is the design's.
        half: half the width of the intervals, a fraction.
    """
    apart = 100 * accuracy.sub(reference)
    with new_figure((8, 0.6 + 0.45 * len(apart))) as figure:
        axis = figure.subplots()
        for row, mean in enumerate(apart.mean(axis=1)):
            colour = "#5A6675" if abs(mean) <= 100 * half else COLOURS["vpt-deep"]
            axis.plot(apart.iloc[row], [row] * apart.shape[1], "o", color=colour, markersize=4, alpha=0.45)
            axis.errorbar(mean, row, xerr=100 * half, fmt="D", color=colour, capsize=3)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set(xlabel=f"points of held-out accuracy against “{reference.name}”", ylim=(len(apart) - 0.4, -0.6))
        name_rows(axis, [f"{name}  ({mean:.0%})" for name, mean in accuracy.mean(axis=1).items()])
    return figure


def search_trials(found: Mapping[str, pd.DataFrame], ranges: Mapping[str, Between], classes: int) -> Figure:
    """Validation accuracy of each trial against its learning rate, a panel for each method; the chosen one is large.

    Args:
        found: method → its trials, from `vptlib.tuning.search.search`; two methods.
        ranges: method → the learning rates that were searched.
        classes: how many, so that guessing can be drawn.
    """
    with new_figure((9, 3.4)) as figure:
        axes = figure.subplots(1, len(found), sharey=True)
        for axis, (method, trials) in zip(axes, found.items(), strict=True):
            _draw_trials(axis, trials, COLOURS[method])
            low, high = ranges[method].low, ranges[method].high
            axis.set(xscale="log", xlim=(0.7 * low, 1.5 * high), title=TITLES[method], xlabel="learning rate")
            axis.axhline(100 / classes, color="grey", linestyle=":")
            hide_spines(axis)
        axes[0].set(ylabel="validation accuracy, %", ylim=(0, 100))
        axes[-1].text(0.75 * ranges[[*found][-1]].low, 100 / classes + 1, "guessing", color="grey")
    return figure


def _draw_trials(axis: Axes, trials: pd.DataFrame, colour: str) -> None:
    """A numbered dot for each trial; numbers stand above and below by turns."""
    chosen = best_setting(trials)["learning_rate"]
    for count, (rate, accuracy) in enumerate(zip(trials.learning_rate, 100 * trials.val_accuracy, strict=True)):
        axis.plot(rate, accuracy, "o", color=colour, markersize=11 if rate == chosen else 7)
        offset = (7, 5) if count % 2 == 0 else (7, -15)
        axis.annotate(f"{count + 1}", (rate, accuracy), offset, textcoords="offset points")


# ---- 06: when prompts win ---------------------------------------------------------------------------------------


def leads_by_task(vtab: pd.DataFrame) -> Figure:
    """A bar for each task of VTAB: VPT less full fine-tuning as published, coloured by the task's group.

    Args:
        vtab: in the order of the bars: task, group, and lead in points.
    """
    colours = {"natural": "#0072B2", "specialised": "#7A5200", "structured": "#7A3E9D"}
    means = vtab.groupby("group").lead.mean()
    with new_figure((8, 5.2)) as figure:
        axis = figure.subplots()
        axis.barh(vtab.task, vtab.lead, color=vtab.group.map(colours))
        axis.axvline(0, color="black", linewidth=0.8)
        for (group, colour), height in zip(colours.items(), (4.5, 3.2, 1.9), strict=True):
            axis.text(12, height, f"{group}: {means[group]:+.1f} on average", color=colour)
        axis.set_xlabel("VPT less full fine-tuning, points")
        axis.set_title("Han et al.: ViT-B/16, supervised on ImageNet-21k, 1,000 images", fontsize=10, loc="left")
        axis.tick_params(axis="y", length=0)
        hide_spines(axis, "top", "right", "left")
    return figure


def distance_by_sample_size(sizes: np.ndarray, distances: np.ndarray, line: tuple[float, float]) -> Figure:
    """Distance of two halves of one set against 1 / images, and the line that leads to endless images.

    Args:
        sizes: `K`, images in each half, ascending.
        distances: `K`.
        line: slope over 1 / images, and distance at endless images.
    """
    slope, at_infinity = line
    with new_figure((8, 3.4)) as figure:
        axis = figure.subplots()
        axis.plot(1 / sizes, distances, "o", color="#0072B2")
        axis.plot([0, 1 / sizes[0]], [at_infinity, at_infinity + slope / sizes[0]], ":", color="#0072B2")
        axis.plot(0, at_infinity, "D", color="#D55E00", clip_on=False)
        axis.text(0.0006, at_infinity, "endless images", color="#D55E00", va="center")
        for size, distance in zip(sizes, distances, strict=True):
            at = (1 / size, distance)
            axis.annotate(f"{size} images", at, (-6, 6), textcoords="offset points", ha="right")
        axis.set(xlabel="1 / images in each half", ylabel="plain Fréchet distance of two halves")
        axis.set(xlim=(0, None), ylim=(0, None))
        hide_spines(axis)
        settle(figure)
    return figure


def leads_by_distance(tasks: pd.DataFrame, gaps: pd.DataFrame) -> Figure:
    """VPT-deep less full fine-tuning against the distance of a task's images, with 95 % intervals.

    Args:
        tasks: a row for each task: task, objective, distance.
        gaps: by task: difference, low, high (fractions).
    """
    median = tasks.distance.median()
    with new_figure((8, 4)) as figure:
        axis = figure.subplots()
        for name, objective, distance in zip(tasks.task, tasks.objective, tasks.distance, strict=True):
            _draw_lead(axis, name, distance, gaps.loc[name], objective in SIMILAR_OBJECTIVES, distance <= median)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.axvline(median, color="grey", linestyle=":")
        axis.text(median, axis.get_ylim()[1], " median", color="grey", va="top")
        axis.set(xlabel="Fréchet distance to the stand-in (endless samples)", ylabel="VPT-deep less full, points")
        axis.set(title="● tells classes apart   ◆ another objective   (lines: 95 % intervals)")
        axis.title.set(fontsize=10, ha="left", x=0)
        low, high = axis.get_xlim()
        axis.set_xlim(low - 0.2 * (high - low), high + 0.22 * (high - low))
        hide_spines(axis)
    return figure


def _draw_lead(axis: Axes, name: str, distance: float, gap: pd.Series, similar: bool, near: bool) -> None:
    """One task; its name stands to the left where it is near."""
    colour = "#0072B2" if similar else "#7A3E9D"
    at = (distance, 100 * gap.difference)
    axis.plot([distance] * 2, [100 * gap.low, 100 * gap.high], color=colour, linewidth=2, alpha=0.6)
    axis.plot(*at, "o" if similar else "D", color=colour, markersize=8)
    offset, side = (-9 if near else 9, 6 if similar else -14), "right" if near else "left"
    axis.annotate(name, at, offset, textcoords="offset points", color=colour, ha=side, parse_math=False)


def accuracy_by_condition(curves: Mapping[str, pd.DataFrame], xlabel: str) -> Figure:
    """Mean accuracy of VPT-deep and of full fine-tuning with 95 % intervals, a row for each condition.

    Args:
        curves: condition → table from `vptlib.evidence.curves.learning_curves`, with one size.
        xlabel: what the accuracy is measured on.
    """
    with new_figure((8, 3.2)) as figure:
        axis = figure.subplots()
        for method, shift, side in (("vpt-deep", 0.06, "top"), ("full", -0.06, "bottom")):
            rows = pd.DataFrame({name: curve.set_index("method").loc[method] for name, curve in curves.items()}).T
            mean, low, high = (100 * rows[column].to_numpy(float) for column in ("mean", "low", "high"))
            heights = np.arange(len(curves)) + shift
            error = np.abs([mean - low, high - mean])  # 2 conditions
            axis.errorbar(mean, heights, xerr=error, fmt="o", color=COLOURS[method], capsize=3)
            y = heights[0] + (0.1 if side == "top" else -0.1)
            axis.text(mean[0], y, TITLES[method], color=COLOURS[method], ha="center", va=side)
        axis.set(xlabel=xlabel, ylim=(len(curves) - 0.6, -0.5))
        name_rows(axis, curves)
    return figure


# ---- 07: decide -------------------------------------------------------------------------------------------------


def resampled_leads(leads: np.ndarray) -> Figure:
    """Histogram of the lead of VPT-deep over full fine-tuning in resampled studies, and how often each is ahead.

    Args:
        leads: `B`, fractions of accuracy.
    """
    lowest, highest = np.quantile(100 * leads, [0.005, 0.995])
    edges = np.arange(np.floor(lowest), np.ceil(highest) + 1)  # a bar is a point wide; 0 is an edge
    behind = leads < 0
    share = behind.mean()
    with new_figure((8.6, 3.2)) as figure:
        axis = figure.subplots()
        axis.hist(100 * leads[behind], bins=edges, color=COLOURS["full"])
        axis.hist(100 * leads[~behind], bins=edges, color=COLOURS["vpt-deep"])
        axis.axvline(0, color="black", lw=1)
        for x, side, method, part in ((0.02, "left", "full", share), (0.98, "right", "vpt-deep", 1 - share)):
            text = _("{method} ahead in {share}").format(method=words.title(method), share=words.per_cent(part, 0))
            at = {"transform": axis.transAxes, "va": "top", "ha": side}
            axis.text(x, 0.9, wrapped(text, 2.4, 10), color=COLOURS[method], **at)
        what = _("VPT-deep less full fine-tuning, points, in {n} resampled studies (the farthest 1\u202f% left out)")
        axis.set(xlabel=what.format(n=words.whole(len(leads))), yticks=[])
        hide_spines(axis, "top", "right", "left")
    return figure


def chances_by_size(chances: pd.DataFrame, accuracy: float) -> Figure:
    """Chance that each method reaches an accuracy, against the labels, and the two lines from which the plan follows.

    Args:
        chances: fractions, sizes (ascending) × methods.
        accuracy: the accuracy that is needed, a fraction.
    """
    sizes = list(chances.index)
    last = 100 * chances.iloc[-1]
    with new_figure((8.6, 3.4)) as figure:
        axis = figure.subplots()
        for method in chances:
            axis.plot(sizes, 100 * chances[method], "o-", color=COLOURS[method], lw=2)
            y = last[method] + (4 if last[method] == last.max() else -4)
            x, title = 1.04 * sizes[-1], words.title(method)
            axis.text(x, y, title, color=COLOURS[method], va="center", fontweight="bold")
        for height, step, style in ((95, OPERATE, "-"), (50, PILOT, ":")):
            axis.axhline(height, color="grey", lw=1, ls=style)
            axis.text(sizes[0], height + 2, words.PLAN_STEPS[step], color="grey", va="bottom", fontsize=9)
        axis.set(xscale="log", ylim=(0, 112), xlabel=_("labelled images a task"), yticks=[0, 50, 95])
        axis.set_ylabel(_("chance that it reaches {share}, %").format(share=words.per_cent(accuracy, 0)))
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xlim(0.9 * sizes[0], 1.9 * sizes[-1])
        axis.minorticks_off()
        hide_spines(axis)
    return figure


# ---- 08: operate ------------------------------------------------------------------------------------------------


def memory_by_tasks(backbone: int, further: int, tasks: int) -> Figure:
    """Memory against the number of tasks: one backbone with a prompt for each task, and a whole model for each task.

    Args:
        backbone: bytes of the backbone.
        further: bytes that each task adds to it.
        tasks: how many there are at the right end.
    """
    number = np.arange(1, tasks + 1)
    prompts, models = (backbone + further * number) / 1e6, (backbone + further) * number / 1e6  # T, in MB
    with new_figure((8.6, 3)) as figure:
        axis = figure.subplots()
        for values, method, text in (
            (models, "full", "a model for each task"),
            (prompts, "vpt-deep", "one backbone, a prompt for each task"),
        ):
            axis.plot(number, values, color=COLOURS[method], lw=2)
            shown = f"{text}: {values[-1]:,.0f} MB"
            axis.annotate(
                shown, (tasks, values[-1]), (0, 6), textcoords="offset points", ha="right", color=COLOURS[method]
            )
        axis.set(xlabel="tasks", ylabel="memory, MB", xlim=(1, tasks), ylim=(0, 1.15 * models[-1]))
        hide_spines(axis)
    return figure


def pictures_in_rows(rows: Mapping[str, np.ndarray]) -> Figure:
    """A few images of each kind, the kinds below each other.

    Args:
        rows: name → uint8 `N H W 3`, of the same N.
    """
    number = max(len(images) for images in rows.values())
    with new_figure((8.6, 0.72 * len(rows))) as figure:
        axes = figure.subplots(len(rows), number, squeeze=False)
        for line, (name, images) in zip(axes, rows.items(), strict=True):
            for axis, image in zip(line, images, strict=False):
                axis.imshow(image)
            for axis in line:
                axis.set(xticks=[], yticks=[])
                hide_spines(axis, *axis.spines)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def alarms_by_day(cases: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Share of imagined periods in which a rule has given an alarm, against the day; a panel for each case.

    Args:
        cases: title → rule → shares `D`; three rules at most.
    """
    colours = ("#C95500", "#6B6B6B", "#0072B2")
    with new_figure((8.8, 3.3)) as figure:
        axes = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
        for axis, (title, shares) in zip(axes, cases.items(), strict=True):
            for colour, share in zip(colours, shares.values(), strict=False):
                axis.plot(np.arange(1, len(share) + 1), 100 * share, color=colour, lw=2, drawstyle="steps-post")
            axis.set_title(title, fontsize=10, loc="left")
            axis.set(xlabel="day", ylim=(0, 102))
            hide_spines(axis)
        first = next(iter(cases.values()))
        for place, (colour, rule) in enumerate(zip(colours, first, strict=False)):
            axes[0].text(0.03, 0.95 - 0.09 * place, rule, color=colour, transform=axes[0].transAxes, va="top")
        axes[0].axhline(5, color="black", lw=0.8, ls=":")
        axes[0].set_ylabel("periods with an alarm so far, %")
    return figure
