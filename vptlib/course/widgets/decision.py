"""`decision_explorer`: what to do next, as the accuracy needed, the prices and the number of tasks change."""

from typing import Any, NamedTuple

import ipywidgets
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vptlib.course.widgets.view import DPI, View, slider
from vptlib.errors import UserError
from vptlib.evidence.curves import learning_curves
from vptlib.evidence.decision import recommend
from vptlib.evidence.money import Pair, bills, comparison, costs_of_more, further_labels, handicaps, price_sentence
from vptlib.evidence.prices import Prices
from vptlib.evidence.recommendation import FULL, PROMPT, Recommendation
from vptlib.evidence.stages import Plan, plan
from vptlib.report.charts import spread_apart
from vptlib.report.fonts import wrapped
from vptlib.report.style import COLOURS, SOFT
from vptlib.report.words import gettext as _
from vptlib.report.words import words

_WIDTH, _LINE = 9.6, 0.181  # inches: of the figure, and from one line of its text to the next
_TEXT = 3.9  # inches: width of its text


class Decision(NamedTuple):
    """What to do next, for one setting of the controls.

    Attributes:
        advice: which method, or what to ask for first.
        plan: the same in stages.
        bill: sentences on money.
    """

    advice: Recommendation
    plan: Plan
    bill: list[str]


def decision_explorer(
    runs: pd.DataFrame,
    accuracy: float = 0.8,
    label_price: float = 2.0,
    tasks: int = 10,
    margin: float = 0.01,
    point_value: float = 0.0,
) -> View:
    """What to do next: `vptlib.evidence.decision.recommend`, `vptlib.evidence.stages.plan` and the bill.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning.
        accuracy: that the work needs, a fraction; shown first, as are the others.
        label_price: of one labelled image.
        tasks: how many tasks of this kind there will be.
        margin: the smallest difference in accuracy that matters, a fraction.
        point_value: of one point of accuracy, for one task and year; 0 where it is not known.

    Raises:
        UserError: a number out of range, or a table that cannot be used.
    """
    if not 0 < accuracy < 1:
        raise UserError(f"accuracy is {accuracy}, but must be between 0 and 1: 0.9 is 90 per cent.")
    first = decided(runs, accuracy, label_price, tasks, margin, point_value)  # refused before anything is shown
    curves = learning_curves(runs).set_index("method")

    def draw(accuracy: float, margin: float, label_price: float, tasks: int, point_value: float) -> Figure:
        found = decided(runs, accuracy / 100, label_price, tasks, margin / 100, point_value)
        return _decision_figure(curves, accuracy / 100, found)

    calm = {"continuous_update": False}
    most = {"accuracy": (30, 99), "margin": (0.5, 20)}
    return View(
        draw,
        {
            "accuracy": slider(
                ipywidgets.FloatSlider, _("accuracy needed, %"), value=100 * accuracy,
                min=min(most["accuracy"][0], 100 * accuracy), max=max(most["accuracy"][1], 100 * accuracy),
                step=1, readout_format=".0f", **calm,
            ),
            "margin": slider(
                ipywidgets.FloatSlider, _("least that matters, points"), value=100 * margin,
                min=min(most["margin"][0], 100 * margin), max=max(most["margin"][1], 100 * margin),
                step=0.5, readout_format=".1f", **calm,
            ),
            "label_price": slider(
                ipywidgets.BoundedFloatText, _("price of a label"), value=label_price, min=0.001, max=1e6, step=0.5
            ),
            "tasks": slider(ipywidgets.BoundedIntText, _("number of tasks"), value=tasks, min=1, max=100_000),
            "point_value": slider(
                ipywidgets.BoundedFloatText, _("value of a point"), value=point_value, min=0, max=1e9, step=50
            ),
        },
        _("{headline}. Decision for {share} needed.").format(
            headline=_headline(first), share=words.per_cent(accuracy, 0)
        ),
    )  # fmt: skip


def decided(
    runs: pd.DataFrame, accuracy: float, label_price: float, tasks: int, margin: float, point_value: float
) -> Decision:
    """What the explorer shows for these figures; arguments as for `decision_explorer`."""
    given: dict[str, Any] = {"point_value": point_value} if point_value else {}
    prices = Prices(label_price=label_price, tasks_planned=tasks, **given)
    worth, further = handicaps(runs, prices), costs_of_more(runs, prices)
    advice = recommend(runs, margin, needed=accuracy, handicaps=worth, costs_of_more=further)
    again = advice.decide_again_at
    stages = plan(runs, advice.choice, advice.method, needed=accuracy, decide_again_at=again, prices=prices)
    return Decision(advice, stages, _bill(runs, prices, advice.method or PROMPT))


def _bill(runs: pd.DataFrame, prices: Prices, method: str) -> list[str]:
    """What the method costs, what has to be labelled, and what it brings compared with the other of the two."""
    found, rival = bills(runs, prices), PROMPT if method == FULL else FULL
    said = [
        price_sentence(found, prices, method, rival),
        further_labels(found[method], prices),
        comparison(Pair(runs, prices, method, rival).lead()),
    ]
    return [words.sentence(one) for one in said]


def _headline(found: Decision) -> str:
    return words.headline(found.advice.choice, found.advice.method)


def _decision_figure(curves: pd.DataFrame, accuracy: float, found: Decision) -> Figure:
    """Left the curves and the accuracy needed; right what to do, in stages, and the bill."""
    stages = [
        _("{part}: {sentence}").format(part=words.PLAN_PARTS[stage.code], sentence=words.sentence(stage))
        for stage in found.plan.stages
    ]
    lines = ["• " + wrapped(text, _TEXT, 9).replace("\n", "\n   ") for text in stages + found.bill]
    headline = wrapped(_headline(found), _TEXT, 12.5, bold=True)
    rows = sum(text.count("\n") + 1 for text in lines)
    head = 0.45 + 0.24 * headline.count("\n")  # inches
    height = max(4.3, head + _LINE * rows + 0.3)
    figure = Figure(figsize=(_WIDTH, height), dpi=DPI)
    _draw_curves(figure.add_axes((0.05, 0.55 / height, 0.37, 1 - 0.95 / height)), curves, accuracy, found)
    figure.text(0.55, 1 - 0.1 / height, headline, fontsize=12.5, fontweight="bold", va="top", linespacing=1.25)
    figure.text(0.55, 1 - head / height, "\n".join(lines), fontsize=9, va="top", linespacing=1.45)
    return figure


def _draw_curves(axis: Axes, curves: pd.DataFrame, accuracy: float, found: Decision) -> None:
    """VPT-deep, full fine-tuning and the method that is advised, with their bands and the accuracy needed."""
    advised = found.advice.method
    shown = [PROMPT, FULL, *([advised] if advised and advised not in (PROMPT, FULL) else [])]
    ends = {}
    for method in shown:
        rows, colour = curves.loc[[method]].sort_values("n"), COLOURS[method]
        axis.fill_between(rows["n"], 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.14, lw=0)
        axis.plot(rows["n"], 100 * rows["mean"], "o-", color=colour, lw=2)
        ends[method] = 100 * rows["mean"].iloc[-1]
    sizes = sorted(map(int, set(curves["n"])))
    low, high = axis.get_ylim()
    low, high = min(low, 100 * accuracy - 2), max(high, 100 * accuracy + 2)
    end = max(sizes) * 1.1
    axis.set(xscale="log", ylim=(low, high), xlabel=_("labelled images a task"), xlim=(min(sizes) * 0.9, end))
    axis.axhline(100 * accuracy, color=SOFT, lw=1.2)
    axis.text(min(sizes), 100 * accuracy, _("needed"), color=SOFT, va="center", fontsize=9, backgroundcolor="white")
    axis.set_title(_("accuracy on test images, %"), fontsize=10, loc="left")
    axis.set_xticks(sizes, [f"{n:,}" if n in (sizes[0], sizes[-1]) else "" for n in sizes])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    places = spread_apart(list(ends.values()), [0.11 * (high - low)] * len(ends), (low, high))
    for method, place in zip(ends, places, strict=True):
        name = wrapped(words.title(method), 0.95, 9, bold=True)
        axis.text(1.06 * end, place, name, color=COLOURS[method], va="center", fontsize=9, fontweight="bold")
