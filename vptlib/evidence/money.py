"""What each way costs from here on, for all tasks that are planned, and what the decision between two ways hangs on.

All functions are pure functions of the table of runs (`Study.runs`) and of the `vptlib.evidence.prices.Prices`. The
table stands for every task: each has as many test images, and takes as long to train. A way's bill:

    once      labels to train and to test, for every task but the first (the study's own images are there already);
              engineer days for the project and for each task; the first training of each task, with its tuning
    a year    checked answers, which are labels; retraining with the setting that was found, and its engineer days;
              storage; models kept in memory to serve: one backbone for all tasks, or one model for each task
    total     once, and what a year costs times the years of the horizon, each discounted to today

Labels for retraining are not in it: the checked answers are labels. A method shares the backbone between tasks if it
stores less than half of what full fine-tuning stores for a task.

A range is the middle 95 % of the sums over all draws of the prices. All ways see the same draws, so their difference is
paired; accuracies are drawn as in `vptlib.evidence.resampling`. Discounting and annuities: Brealey, Myers and Allen,
Principles of Corporate Finance, chapter 2. Changing one price at a time: Howard, Decision Analysis: Practice and
Promise, Management Science 34, 1988.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.prices import DRAWS, Prices, Span, discounted_years, draws_of
from vptlib.evidence.recommendation import FULL
from vptlib.evidence.resampling import LEVEL, accuracies, middle
from vptlib.statement import Statement, statement

ONCE, YEARLY = ("labels", "set_up", "training"), ("checks", "retraining", "storage", "serving")
# Where break-even points are looked for: numbers of tasks, and multiples of the likely price of a label.
MOST_TASKS, MOST_TIMES_PRICE = 10_000, 100

_NEEDED_COLUMNS = ("train_seconds", "tuning_seconds", "bytes_per_task")


# ---- the bill ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bill:
    """What one way costs from here on, for all tasks.

    Attributes:
        method: its name.
        labels: labelled images that each further task needs to train.
        tests: labelled images that each further task needs to test.
        own_models: whether each task has a model of its own in memory; otherwise all share one backbone.
        items: of `ONCE` (in all) and of `YEARLY` (in a year).
        once, yearly, total: the sums; `total` is over the horizon, discounted.
    """

    method: str
    labels: int
    tests: int
    own_models: bool
    items: dict[str, Span]
    once: Span
    yearly: Span
    total: Span


def bills(runs: pd.DataFrame, prices: Prices, labels: Mapping[str, int] | None = None) -> dict[str, Bill]:
    """The bill of each method of the table; empty where nothing is priced.

    Args:
        runs: one task's table.
        prices: what things cost.
        labels: method → labelled images that each task needs to train; by default the largest size of the table.

    Raises:
        UserError: the table cannot be used, or lacks a column that a bill needs.
    """
    if not prices.priced:
        return {}
    drawn, likely = draws_of(prices), prices.likely
    return {method: _bill(way, drawn, likely) for method, way in _ways(runs, labels).items()}


def handicaps(runs: pd.DataFrame, prices: Prices) -> dict[str, float] | None:
    """Method → accuracy (a fraction) that its yearly cost above the cheapest method is worth, for one task.

    For `vptlib.evidence.decision.recommend`. Prices are taken as likely, all methods with the same labels. What is paid
    once counts with its share of a year: the total divided by the discounted years.

    Returns:
        None where the price of a label or the value of a point is not given.

    Raises:
        UserError: as `bills`.
    """
    if not prices.weighs_accuracy:
        return None
    likely = prices.likely
    totals = {method: _total(_amounts(way, likely), likely) for method, way in _ways(runs).items()}
    least, a_point = min(totals.values()), _for_a_point(likely)
    return {method: float((total - least) / a_point / 100) for method, total in totals.items()}


def costs_of_more(runs: pd.DataFrame, prices: Prices) -> dict[str, float] | None:
    """What may be asked for → accuracy (a fraction) that the price of one more is worth, for `recommend`.

    The keys are "seeds" and "test_images".

    Both are paid once, for the study. The accuracy is that of all tasks over all years.

    Returns:
        None where the price of a label or the value of a point is not given.

    Raises:
        UserError: as `bills`.
    """
    if not prices.weighs_accuracy:
        return None
    return {kind: price / _for_a_point(prices.likely) / 100 for kind, price in _each(runs, prices.likely).items()}


def _for_a_point(usual: Mapping[str, float]) -> float:
    """What a point of accuracy is worth for all tasks and years."""
    return usual["point_value"] * usual["tasks_planned"] * float(discounted_years(usual))


def _each(runs: pd.DataFrame, usual: Mapping[str, float]) -> dict[str, float]:
    """The price of one more seed of all methods, and of one more test image."""
    hours = sum(way.tuned_hours for way in _ways(runs).values())
    return {"seeds": hours * usual["compute_hour_price"], "test_images": usual["label_price"]}


class _Way(NamedTuple):
    """One method's quantities for one task."""

    method: str
    labels: int
    tests: int
    tuned_hours: float
    hours: float
    task_bytes: float
    shared_bytes: float
    own_models: bool


def _ways(runs: pd.DataFrame, labels: Mapping[str, int] | None = None) -> dict[str, _Way]:
    for column in ("method", "n", "correct", *_NEEDED_COLUMNS):
        if column not in runs:
            raise UserError(f"the table of runs has no column {column!r}: take the table that Study.runs() gives.")
    if len(runs) == 0:
        raise UserError("the table of runs is empty: run the study first.")
    found = {str(method): _quantities(rows, str(method)) for method, rows in runs.groupby("method", sort=False)}
    whole = found[FULL]["bytes_per_task"] if FULL in found else max(of["bytes_per_task"] for of in found.values())
    largest, tests = int(runs["n"].max()), len(runs["correct"].iloc[0])
    return {
        method: _Way(
            method,
            (labels or {}).get(method, largest),
            tests,
            of["tuning_seconds"] / 3600,
            of["train_seconds"] / 3600,
            of["bytes_per_task"],
            0.0 if (own := 2 * of["bytes_per_task"] >= whole) else whole,
            own,
        )
        for method, of in found.items()
    }


def _quantities(rows: pd.DataFrame, method: str) -> dict[str, float]:
    """Seconds and bytes of one method at its largest size."""
    at = rows[rows["n"] == rows["n"].max()]
    # with equal settings the first seed tunes for all, so the longest is the one with its tuning
    found = {
        "train_seconds": float(at["train_seconds"].median()),
        "tuning_seconds": float(at["tuning_seconds"].max()),
        "bytes_per_task": float(at["bytes_per_task"].median()),
    }
    for column, value in found.items():
        if not math.isfinite(value):
            raise UserError(f"the table of runs has no {column} of {method!r}: take the table that Study.runs() gives.")
    return found


def _amounts(way: _Way, price: Mapping[str, Any]) -> dict[str, Any]:
    """Each item of the bill, for prices that are numbers or draws `B`."""
    tasks, label, day, hour = (
        price[name] for name in ("tasks_planned", "label_price", "engineer_day_price", "compute_hour_price")
    )
    retraining = way.hours * hour + price["engineer_days_per_retraining"] * day
    return {
        "labels": (tasks - 1) * (way.labels + way.tests) * label,
        "set_up": (price["engineer_days_per_project"] + tasks * price["engineer_days_per_task"]) * day,
        "training": tasks * way.tuned_hours * hour,
        "checks": 12 * price["checks_per_month"] * tasks * label,
        "retraining": price["retrainings_per_year"] * tasks * retraining,
        "storage": (tasks * way.task_bytes + way.shared_bytes) / 1e9 * price["storage_price"],
        "serving": (tasks if way.own_models else 1.0) * price["serving_price"],
    }


def _total(amounts: Mapping[str, Any], price: Mapping[str, Any]) -> Any:
    """Over the horizon, discounted to today."""
    once, yearly = (sum(amounts[item] for item in part) for part in (ONCE, YEARLY))
    return once + discounted_years(price) * yearly


def _bill(way: _Way, drawn: Mapping[str, np.ndarray], likely: Mapping[str, float]) -> Bill:
    redrawn, usual = _amounts(way, drawn), _amounts(way, likely)
    sums = {part: (sum(redrawn[item] for item in part), sum(usual[item] for item in part)) for part in (ONCE, YEARLY)}
    return Bill(
        way.method,
        way.labels,
        way.tests,
        way.own_models,
        {item: _span(redrawn[item], usual[item]) for item in (*ONCE, *YEARLY)},
        _span(*sums[ONCE]),
        _span(*sums[YEARLY]),
        _span(_total(redrawn, drawn), _total(usual, likely)),
    )


def _span(drawn: Any, likely: Any) -> Span:
    """The middle 95 % of the draws, widened to hold the likely value."""
    low, high = middle(np.broadcast_to(np.asarray(drawn, dtype=float), DRAWS), LEVEL)
    usual = float(likely)
    return Span(min(float(low), usual), usual, max(float(high), usual))


# ---- two ways compared ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lead:
    """How much more one way brings than another over the horizon, for all tasks.

    Attributes:
        a, b: the two methods.
        money: what `a` brings more than `b`: the value of its accuracy (where a point has one) less its cost.
        probability: share of the draws in which `a` brings more.
        valued: whether accuracy is in it; otherwise it is the difference of the costs alone.
    """

    a: str
    b: str
    money: Span
    probability: float
    valued: bool


@dataclass(frozen=True)
class Swing:
    """What one figure changes in the lead of one way over another, if the others stay as they are likely.

    Attributes:
        name: of the price, or "accuracy" for the difference of the two accuracies.
        at: low and high end of that figure.
        lead: what the first way brings more than the second at these two ends.
        turns: whether the order of the two ways is another at one of the ends.
    """

    name: str
    at: tuple[float, float]
    lead: tuple[float, float]
    turns: bool

    @property
    def width(self) -> float:
        """How far it moves the lead."""
        return abs(self.lead[1] - self.lead[0])


@dataclass(frozen=True)
class BreakEven:
    """The number of tasks, or the price of a label, at which another way becomes the better one.

    Attributes:
        name: "tasks_planned" or "label_price".
        value: where the two ways are level, other prices as likely; None if nowhere from `least` to `most`.
        low, high: the middle 95 % of the draws that have such a point; NaN without `value`.
        share: of the draws that have one.
        below, above: the better way below and above it; the same one where there is no such point.
        least, most: where it was looked for.
        valued: whether accuracy is in the comparison, as in `Lead`.
    """

    name: str
    value: float | None
    low: float
    high: float
    share: float
    below: str
    above: str
    least: float
    most: float
    valued: bool


class Pair:
    """Two ways, compared in money over the horizon.

    Args:
        runs: one task's table.
        prices: with the price of a label.
        a, b: methods of the table.
        labels: as for `bills`.

    Raises:
        UserError: as `bills`; or a method, or its runs with these labels, are not in the table.
    """

    def __init__(self, runs: pd.DataFrame, prices: Prices, a: str, b: str, labels: Mapping[str, int] | None = None):
        ways = _ways(runs, labels)
        for method in (a, b):
            if method not in ways:
                raise UserError(f"the table of runs has no {method!r}, only {', '.join(ways)}: choose among them.")
        self.prices, self._a, self._b = prices, ways[a], ways[b]
        self.valued: bool = prices.given("point_value")
        (at_a, redrawn_a), (at_b, redrawn_b) = (_accuracy(runs, way) for way in (self._a, self._b))
        self._difference, self._redrawn = at_a - at_b, redrawn_a - redrawn_b  # a number, B

    def lead(self) -> Lead:
        """What the first way brings more than the second."""
        drawn = self._lead(draws_of(self.prices), self._redrawn)
        probability = float((drawn > 0).mean() + (drawn == 0).mean() / 2)
        return Lead(self._a.method, self._b.method, _span(drawn, self._likely_lead()), probability, self.valued)

    def tornado(self) -> list[Swing]:
        """What the comparison hangs on, the figure that moves it most first; those that move nothing are left out."""
        usual, likely = self.prices.likely, self._likely_lead()
        swings = []
        for name in self.prices.known():
            low, _, high = self.prices.of(name)
            at_low, at_high = (self._lead(usual | {name: end}, self._difference) for end in (low, high))
            swings.append(_swing(name, (low, high), at_low, at_high, likely))
        if self.valued:
            low, high = (float(end) for end in middle(self._redrawn, LEVEL))
            swings.append(_swing("accuracy", (low, high), self._lead(usual, low), self._lead(usual, high), likely))
        moving = [swing for swing in swings if swing.width > 1e-9 * max(1.0, abs(likely))]
        return sorted(moving, key=lambda swing: -swing.width)

    def break_even(self, name: str) -> BreakEven:
        """Where the order of the two ways changes.

        Args:
            name: "tasks_planned" (from 1 to `MOST_TASKS`) or "label_price" (up to `MOST_TIMES_PRICE` times the likely
                one). The lead is a straight line over each of the two.
        """
        price = self.prices.of("label_price").likely
        least, most = {"tasks_planned": (1.0, float(MOST_TASKS)), "label_price": (0.0, MOST_TIMES_PRICE * price)}[name]
        roots = np.broadcast_to(self._root(draws_of(self.prices), self._redrawn, name, least, most)[0], DRAWS)
        there = roots[np.isfinite(roots)]
        about = {"name": name, "least": least, "most": most, "share": len(there) / DRAWS, "valued": self.valued}
        root, first, last = (float(one) for one in self._root(self.prices.likely, self._difference, name, least, most))
        below, above = (self._a.method if lead >= 0 else self._b.method for lead in (first, last))
        if math.isnan(root):  # level at one end: the way that is better elsewhere is better throughout
            better = below if abs(first) >= abs(last) else above
            return BreakEven(value=None, low=math.nan, high=math.nan, below=better, above=better, **about)
        low, high = (float(end) for end in middle(there, LEVEL)) if len(there) else (root, root)
        return BreakEven(value=root, low=min(low, root), high=max(high, root), below=below, above=above, **about)

    def _root(
        self, price: Mapping[str, Any], difference: Any, name: str, least: float, most: float
    ) -> tuple[Any, Any, Any]:
        """Where the lead is 0 between `least` and `most` (NaN if nowhere), and the lead at these two."""
        first, last = (np.asarray(self._lead({**price, name: end}, difference)) for end in (least, most))
        with np.errstate(divide="ignore", invalid="ignore"):
            root = least - first * (most - least) / (last - first)
        return np.where(first * last < 0, root, np.nan), first, last

    def _likely_lead(self) -> float:
        return float(self._lead(self.prices.likely, self._difference))

    def _lead(self, price: Mapping[str, Any], difference: Any) -> Any:
        """What `a` brings more than `b`, for prices that are numbers or draws `B`."""
        dearer = _total(_amounts(self._a, price), price) - _total(_amounts(self._b, price), price)
        if not self.valued:
            return -dearer
        return 100 * difference * price["point_value"] * price["tasks_planned"] * discounted_years(price) - dearer


def _swing(name: str, at: tuple[float, float], low: Any, high: Any, likely: float) -> Swing:
    ends = (float(low), float(high))
    return Swing(name, at, ends, any(end * likely < 0 for end in ends))


def _accuracy(runs: pd.DataFrame, way: _Way) -> tuple[float, np.ndarray]:
    """Accuracy of a way with its labels, and in the redrawn tables `B`."""
    found = accuracies(runs, way.method)
    at = np.flatnonzero(found.n == way.labels)
    if not len(at):
        raise UserError(
            f"the table of runs has no {way.method!r} with {way.labels} labelled images, only with "
            f"{', '.join(map(str, found.n.tolist()))}: take one of them."
        )
    return float(found.value[at[0]]), found.replicates[at[0]]


# ---- what asking for more is worth ------------------------------------------------------------------------------


def worth_asking(
    runs: pd.DataFrame, prices: Prices, gains: Mapping[str, float], amounts: Mapping[str, int]
) -> list[Statement]:
    """What more information is worth, by kind, next to its price; empty where a point has no value.

    Args:
        runs: one task's table.
        prices: what things cost.
        gains: "seeds" and "test_images" → accuracy (a fraction) that a choice loses less on average with so many more
            (`vptlib.evidence.contest.Contest.worth_of_more`).
        amounts: "seeds", "test_images" and "labels" → how many more to ask for: seeds and test images for this study,
            labels to train for every task.

    Raises:
        UserError: as `bills`.
    """
    if not prices.weighs_accuracy:
        return []
    usual = prices.likely
    for_a_point, asked = _for_a_point(usual), []
    for kind, each in _each(runs, usual).items():
        if amount := amounts.get(kind):
            price, worth = amount * each, 100 * gains.get(kind, 0.0) * for_a_point
            asked.append(
                statement("worth_asking", kind=kind, amount=amount, worth=worth, price=price, pays=worth > price)
            )
    if labels := amounts.get("labels"):
        tasks = usual["tasks_planned"]
        price = labels * tasks * usual["label_price"]
        gain = price / for_a_point / 100
        asked.append(statement("labels_must_bring", labels=labels, tasks_planned=tasks, price=price, gain=gain))
    return asked


# ---- statements -------------------------------------------------------------------------------------------------


def price_sentence(
    found: Mapping[str, Bill], prices: Prices, method: str | None, rival: str | None = None
) -> Statement:
    """For the first page: what the method costs in all, and the other one; or what to give so that it can be said.

    Args:
        found: from `bills`.
        prices: those behind it.
        method: the one that was chosen; None where none was.
        rival: another to name, or None.
    """
    if not prices.priced:
        return statement("not_priced")
    bill = found.get(method or "") or min(found.values(), key=lambda one: one.total.likely)
    other = found.get(rival or "")
    years = prices.of("horizon_years").likely
    labels = bill.items["labels"].likely + bill.items["checks"].likely * float(discounted_years(prices.likely))
    return statement(
        "priced",
        method=bill.method,
        tasks_planned=prices.of("tasks_planned").likely,
        years=years,
        total=list(bill.total),
        labelling=labels / bill.total.likely if bill.total.likely else 0.0,
        rival=other.method if other and other.method != bill.method else None,
        rival_total=list(other.total) if other and other.method != bill.method else None,
        assumed=sum(not prices.given(name) for name in prices.known()),
    )


def further_labels(bill: Bill, prices: Prices) -> Statement:
    """How many labels the bill holds: to train and to test for the further tasks, and checks in a year."""
    usual = prices.likely
    more = usual["tasks_planned"] - 1
    return statement(
        "further_labels",
        tasks_planned=usual["tasks_planned"],
        train=round(more * bill.labels),
        test=round(more * bill.tests),
        checks=round(12 * usual["checks_per_month"] * usual["tasks_planned"]),
    )


def comparison(lead: Lead) -> Statement:
    """Which of two ways brings more, and how sure that is."""
    return statement(
        "brings_more", a=lead.a, b=lead.b, lead=list(lead.money), probability=lead.probability, valued=lead.valued
    )


def turning(found: BreakEven) -> Statement:
    """Where the order of two ways changes, or that it does not."""
    if found.value is None:
        return statement(
            "turns_nowhere",
            name=found.name,
            least=found.least,
            most=found.most,
            better=found.below,
            share=found.share,
            valued=found.valued,
        )
    return statement(
        "turns_at", name=found.name, value=found.value, low=found.low, high=found.high, share=found.share,
        below=found.below, above=found.above, valued=found.valued,
    )  # fmt: skip
