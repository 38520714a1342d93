"""`decision_explorer`: what to do next, as the accuracy needed, the price of a label and the number of tasks change."""

import textwrap

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vptlib.course.widgets.view import DPI, View, slider
from vptlib.evidence.curves import fit_power_law, learning_curves
from vptlib.evidence.decision import FULL, PROMPT
from vptlib.evidence.prices import plan
from vptlib.report.charts import spread_apart
from vptlib.report.style import COLOURS, SOFT, TITLES
from vptlib.report.words import in_language

words = in_language()


def decision_explorer(
    runs: pd.DataFrame,
    accuracy: float = 0.8,
    label_price: float = 2.0,
    tasks: int = 10,
    margin: float = 0.01,
) -> View:
    """What to do next, for an accuracy needed, a price of a label and a number of tasks: `vptlib.evidence.prices.plan`.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning.
        accuracy, label_price, tasks, margin: shown first; as for `plan`.

    Raises:
        UserError: as `plan`.
    """
    first = plan(runs, accuracy, label_price, tasks, margin)  # a wrong number is reported before anything is shown
    headline = words.sentence(first.headline)
    curves = learning_curves(runs).set_index("method")
    laws = {method: fit_power_law(runs, method) for method in (PROMPT, FULL) if curves.loc[[method]]["n"].nunique() > 1}

    def draw(accuracy: float, margin: float, label_price: float, tasks: int) -> Figure:
        found = plan(runs, accuracy / 100, label_price, tasks, margin / 100)
        return _decision_figure(curves, laws, accuracy / 100, found)

    calm = {"continuous_update": False}
    most = {"accuracy": (30, 99), "margin": (0.5, 20)}
    return View(
        draw,
        {
            "accuracy": slider(
                ipywidgets.FloatSlider, "accuracy needed, %", value=100 * accuracy,
                min=min(most["accuracy"][0], 100 * accuracy), max=max(most["accuracy"][1], 100 * accuracy),
                step=1, readout_format=".0f", **calm,
            ),
            "margin": slider(
                ipywidgets.FloatSlider, "least that matters, points", value=100 * margin,
                min=min(most["margin"][0], 100 * margin), max=max(most["margin"][1], 100 * margin),
                step=0.5, readout_format=".1f", **calm,
            ),
            "label_price": slider(
                ipywidgets.BoundedFloatText, "price of a label", value=label_price, min=0, max=1e6, step=0.5
            ),
            "tasks": slider(ipywidgets.BoundedIntText, "number of tasks", value=tasks, min=1, max=100_000),
        },
        f"{headline}. Decision for {100 * accuracy:.0f} % needed.",
    )  # fmt: skip


def _decision_figure(curves: pd.DataFrame, laws: dict, accuracy: float, found) -> Figure:
    """Left the curves, continued as far as the plan looks, and the accuracy needed; right the plan in words."""
    figure = Figure(figsize=(9.6, 4.3), dpi=DPI)
    axis = figure.add_axes((0.05, 0.13, 0.37, 0.78))
    largest = int(curves["n"].max())
    wanted = [need.labels for need in found.needs.values() if need.labels]
    end = min(10 * largest, max([2 * largest, *(1.3 * labels for labels in wanted)]))
    ends = {}
    for method in (PROMPT, FULL):
        rows, colour = curves.loc[[method]].sort_values("n"), COLOURS[method]
        axis.fill_between(rows["n"], 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.14, lw=0)
        axis.plot(rows["n"], 100 * rows["mean"], "o-", color=colour, lw=2)
        ends[method] = 100 * rows["mean"].iloc[-1]
        if method in laws and laws[method].trusted:
            ahead = np.geomspace(largest, end, 30)
            fitted = np.array([laws[method].predict(n)[0] for n in ahead])
            axis.plot(ahead, 100 * fitted, ":", color=colour, lw=2)
            ends[method] = 100 * fitted[-1]
    low, high = axis.get_ylim()
    low, high = min(low, 100 * accuracy - 2), max(high, 100 * accuracy + 2)
    axis.set(xscale="log", ylim=(low, high), xlabel="labelled images a task", xlim=(curves["n"].min() * 0.9, end))
    axis.axhline(100 * accuracy, color=SOFT, lw=1.2)
    axis.text(curves["n"].min(), 100 * accuracy, "needed", color=SOFT, va="center", fontsize=9, backgroundcolor="white")
    axis.axvline(largest, color=SOFT, lw=0.8, ls=":")
    axis.set_title("accuracy on test images, %  (dotted: forecast)", fontsize=10, loc="left")
    ticks = sorted({*map(int, curves["n"]), int(end)})
    ticks = [n for n in ticks if n in (ticks[0], ticks[-1], largest)]
    axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    places = spread_apart(list(ends.values()), [0.11 * (high - low)] * 2, (low, high))
    for method, place in zip(ends, places, strict=True):
        name = textwrap.fill(TITLES[method], 11)
        axis.text(1.06 * end, place, name, color=COLOURS[method], va="center", fontsize=9, fontweight="bold")
    headline = textwrap.fill(words.sentence(found.headline), 42)
    figure.text(0.55, 0.95, headline, fontsize=12.5, fontweight="bold", va="top", linespacing=1.25)
    lines = [
        textwrap.fill(words.sentence(reason), 60, initial_indent="• ", subsequent_indent="   ")
        for reason in found.reasons
    ]
    below = 0.84 - 0.065 * headline.count("\n")
    figure.text(0.55, below, "\n".join(lines), fontsize=9, va="top", linespacing=1.45)
    return figure
