"""From the runs of one task to a plan with prices: operate, pilot, label more, or give up the accuracy asked for.

`vptlib.evidence.decision` says which method is better; here the accuracy that is *needed*, the price of a label and the
number of tasks join in. All functions are pure functions of the table of runs (`Study.runs`). The rule:

    a method is ready     at the largest size it reaches the accuracy that is needed, in 95 % of the resampled studies
    operate               with the recommended method if it is ready, else with one that is, the lighter one first
    pilot                 none is ready, but the likelier one reached the accuracy, or does so in half of the studies
    label more            by its power law one gets there within `HORIZON` times the largest size; or
                          nothing can be foretold yet, and then twice the labels are the next look
    out of sight          by their power laws neither gets there within `HORIZON` times the largest size

Money is spent on labels alone; storage and training time are told, not priced: they differ from house to house.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.curves import accuracies, fit_power_law, in_prose
from vptlib.evidence.decision import FULL, HIGH, HORIZON, PROMPT, Recommendation, costs, recommend
from vptlib.wording import count, per_cent, storage

_CHOSEN = {"prompt": PROMPT, "no difference that matters": PROMPT, "fine-tune": FULL}


@dataclass(frozen=True)
class Need:
    """How many labelled images a task needs for an accuracy, by one method.

    Attributes:
        method: its name.
        largest: the largest size that was run.
        chance: share of the resampled studies in which that size reaches the accuracy.
        labels: the labels needed, or None where that is not known.
        beyond: whether its power law gets there beyond `HORIZON` times the largest size, or never.
        low, high: ends of the 95 % interval of `labels`; `high` is infinite where some studies never get there.
        why: where `labels` comes from, or why it is not known.
    """

    method: str
    largest: int
    chance: float
    labels: int | None
    beyond: bool
    low: float
    high: float
    why: str


@dataclass(frozen=True)
class Plan:
    """What to do next about one kind of task.

    Attributes:
        step: "operate", "pilot", "label more" or "out of sight".
        method: with which method; None where it is out of sight.
        headline: that in a short sentence.
        reasons: plain sentences with the figures.
        further_labels: to buy for all tasks before the next step; 0 where nothing needs to be bought, None if unknown.
        price: of these labels, in the currency of the price of one.
        needs: what each of the two methods needs.
        advice: what `vptlib.evidence.decision.recommend` says of the two methods.
    """

    step: str
    method: str | None
    headline: str
    reasons: list[str]
    further_labels: int | None
    price: float | None
    needs: dict[str, Need]
    advice: Recommendation


def labels_needed(runs: pd.DataFrame, method: str, accuracy: float) -> Need:
    """The labelled images at which `method` reaches `accuracy`: as measured, else as its power law says.

    Args:
        runs: one task's table.
        method: one of its methods.
        accuracy: a fraction.

    Raises:
        UserError: the accuracy is not in (0, 1), or the table lacks the method.
    """
    if not 0 < accuracy < 1:
        raise UserError(f"accuracy is {accuracy}, but must lie between 0 and 1: 0.9 is 90 per cent.")
    found = accuracies(runs, method)
    largest, chance = int(found.n[-1]), float((found.replicates[-1] >= accuracy).mean())
    if found.value[-1] >= accuracy:
        first = int(found.n[np.argmax(found.value >= accuracy)])
        return Need(method, largest, chance, first, False, *_interval(_first_sizes(found, accuracy)), "measured")
    if len(found.n) < 2:
        return Need(method, largest, chance, None, False, np.inf, np.inf, "one size says nothing of larger ones")
    law = fit_power_law(runs, method)
    if not law.trusted:
        return Need(method, largest, chance, None, False, np.inf, np.inf, law.caveat)
    fitted = float(_sizes_at(np.array([[law.a, law.b, law.c]]), accuracy)[0])
    low, high = _interval(np.maximum(_sizes_at(law.replicates, accuracy), found.n[0]))
    if fitted > HORIZON * largest:
        why = f"its curve does not get there within {HORIZON} times the labels"
        return Need(method, largest, chance, None, True, low, high, why)
    return Need(method, largest, chance, max(largest + 1, math.ceil(fitted)), False, low, high, "forecast")


def plan(runs: pd.DataFrame, accuracy: float, label_price: float, tasks: int, margin: float = 0.01) -> Plan:
    """What to do next, by the rule at the head of this module.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning; it stands for all tasks.
        accuracy: that the work needs, a fraction.
        label_price: of one labelled image.
        tasks: how many tasks of this kind there will be.
        margin: the smallest difference in accuracy that matters, a fraction.

    Raises:
        UserError: a number out of range, or a table that cannot be used.
    """
    if not 0 <= label_price < math.inf:
        raise UserError(f"label_price is {label_price}, but must be 0 or more.")
    if tasks < 1:
        raise UserError(f"tasks is {tasks}, but must be 1 or more.")
    advice = recommend(runs, margin)
    needs = {method: labels_needed(runs, method, accuracy) for method in (PROMPT, FULL)}
    step, method = _next_step(_CHOSEN.get(advice.choice), needs)
    further = _further_labels(step, method, needs, tasks)
    price = None if further is None else further * label_price
    return Plan(
        step=step,
        method=method,
        headline=_headline(step, method, needs, accuracy),
        reasons=[
            _who_is_better(advice),
            *(_reach(need, accuracy) for need in needs.values()),
            *_why_this_one(step, method, advice, needs),
            _bill(further, label_price, tasks),
            _weight(runs, tasks),
        ],
        further_labels=further,
        price=price,
        needs=needs,
        advice=advice,
    )


# ---- how many labels --------------------------------------------------------------------------------------------


def _first_sizes(found, accuracy: float) -> np.ndarray:
    """In each redrawn table the first size that reaches the accuracy, or infinity: `B`."""
    reached = found.replicates >= accuracy  # K B
    return np.where(reached.any(axis=0), found.n[reached.argmax(axis=0)], np.inf)


def _sizes_at(laws: np.ndarray, accuracy: float) -> np.ndarray:
    """Where power laws `B 3` (a, b, c) reach the accuracy, or infinity: `B`."""
    a, b, c = laws.T
    above_floor = (1 - accuracy) - c
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sizes = (a / above_floor) ** (1 / b)
    return np.where((above_floor > 0) & (b > 0), sizes, np.inf)


def _interval(sizes: np.ndarray) -> tuple[float, float]:
    """The ends of the middle 95 %; infinity is a size like any other."""
    low, high = np.quantile(sizes, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


# ---- the rule ---------------------------------------------------------------------------------------------------


def _next_step(chosen: str | None, needs: dict[str, Need]) -> tuple[str, str | None]:
    """What to do, and with which method; `chosen` is the recommended one, if one is."""
    order = [chosen, *(method for method in needs if method != chosen)] if chosen else list(needs)  # the lighter first
    ready = [method for method in order if needs[method].chance >= HIGH]
    if ready:
        return "operate", ready[0]
    likelier = max(order, key=lambda method: needs[method].chance)
    if needs[likelier].chance >= 0.5 or needs[likelier].why == "measured":
        return "pilot", likelier
    known = [method for method in order if needs[method].labels is not None]
    if known:
        return "label more", min(known, key=lambda method: needs[method].labels)
    return ("out of sight", None) if all(need.beyond for need in needs.values()) else ("label more", likelier)


def _next_size(need: Need) -> int:
    """The labels a task that `need` asks for, or, where they are not known, twice those in hand."""
    return need.labels or 2 * need.largest


def _further_labels(step: str, method: str | None, needs: dict[str, Need], tasks: int) -> int | None:
    if step == "out of sight":
        return None
    if step != "label more":
        return 0
    return tasks * (_next_size(needs[method]) - needs[method].largest)


# ---- in words ---------------------------------------------------------------------------------------------------


def _headline(step: str, method: str | None, needs: dict[str, Need], accuracy: float) -> str:
    wanted = per_cent(accuracy, 0)
    if step == "out of sight":
        return f"{wanted} is out of sight: ask for less, or try another backbone"
    if step == "label more":
        return f"Label about {_rounded(_next_size(needs[method]))} images a task, then decide again"
    verb = {"operate": "Operate", "pilot": "Pilot"}[step]
    return f"{verb} with {in_prose(method)}" + ("" if step == "operate" else f": {wanted} is likely, not certain")


def _who_is_better(advice: Recommendation) -> str:
    said = {
        "prompt": "prompts are the right choice of the two",
        "fine-tune": "full fine-tuning is the right choice of the two",
        "no difference that matters": "the two differ by less than matters, so take the lighter one",
        "collect more data": "it is open which of the two is better",
    }[advice.choice]
    return f"With {advice.n:,} labels a task {said} (confidence {advice.confidence})."


def _reach(need: Need, accuracy: float) -> str:
    name, wanted = in_prose(need.method), per_cent(accuracy, 0)
    name = name[0].upper() + name[1:]
    seen = f"{name} reaches {wanted} with {need.largest:,} labels in {_share(need.chance)} of the resampled studies"
    if need.labels is None:
        return f"{seen}; what more it would take is not known: {need.why}."
    if need.why == "measured":
        return f"{seen}; {need.labels:,} are enough as measured ({_range(need)})."
    return f"{seen}; by its curve it takes about {_rounded(need.labels)} ({_range(need)})."


def _range(need: Need) -> str:
    if need.low == need.high:
        return "in all of them"
    low, high = ("never" if math.isinf(end) else _rounded(end) for end in (need.low, need.high))
    return f"95\u202f% interval: {low} to {high}"


def _why_this_one(step: str, method: str | None, advice: Recommendation, needs: dict[str, Need]) -> list[str]:
    """Where the method to operate with is not simply the recommended one."""
    if step != "operate" or method == _CHOSEN.get(advice.choice):
        return []
    if all(need.chance >= HIGH for need in needs.values()):
        return ["Both do what is needed, so take the lighter one."]
    return [f"Only {in_prose(method)} surely does what is needed."]


def _bill(further: int | None, label_price: float, tasks: int) -> str:
    of_tasks = "1 task" if tasks == 1 else f"{tasks:,} tasks"
    if further is None:
        return f"No number of labels can be named for {of_tasks}, so none is priced."
    if not further:
        return f"No further labels have to be bought for {of_tasks}."
    return f"{further:,} further labels for {of_tasks} cost {further * label_price:,.0f} at {label_price:g} each."


def _weight(runs: pd.DataFrame, tasks: int) -> str:
    table = costs(runs).set_index("method")
    light, heavy = (tasks * table.loc[method, "bytes_per_task"] for method in (PROMPT, FULL))
    return (
        f"Stored for all tasks: {storage(light)} with {in_prose(PROMPT)} beside one backbone, {storage(heavy)} with "
        f"{in_prose(FULL)}."
    )


def _share(chance: float) -> str:
    if chance > 0.99:
        return f"more than {per_cent(0.99, 0)}"
    near_the_mark = abs(chance - HIGH) < 0.01  # where a rounded figure would hide which side it is on
    return f"less than {per_cent(0.01, 0)}" if chance < 0.01 else per_cent(chance, int(near_the_mark))


def _rounded(number: float) -> str:
    """Two significant digits: 1,234.5 → "1,200"."""
    return count(float(f"{number:.2g}"))
