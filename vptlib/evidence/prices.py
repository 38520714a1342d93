"""From the runs of one task to a plan with prices: operate, pilot, label more, or give up the accuracy asked for.

`vptlib.evidence.decision` finds which method is better. This module adds the accuracy that is *needed*, the price of a
label and the number of tasks. All functions are pure functions of the table of runs (`Study.runs`). They give codes and
numbers; the sentences are in `vptlib.report.words`. The rule:

    a method is ready     at the largest size it reaches the accuracy that is needed, in 95 % of the resampled studies
    operate               with the recommended method if it is ready, else with one that is, the lighter one first
    pilot                 none is ready, but the likelier one reached the accuracy, or does so in half of the studies
    label_more            by its power law one gets there within `HORIZON` times the largest size; or
                          nothing can be forecast yet, and then the next size is twice the labels
    out_of_sight          by their power laws neither gets there within `HORIZON` times the largest size

Money is spent on labels alone. Storage and training time are reported without a price, because that price differs
from company to company.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.curves import Resampled, accuracies, fit_power_law
from vptlib.evidence.decision import (
    FULL,
    HIGH,
    HORIZON,
    NO_DIFFERENCE,
    PROMPT,
    TO_FINE_TUNE,
    TO_PROMPT,
    Recommendation,
    costs,
    recommend,
)
from vptlib.statement import Statement, statement

OPERATE, PILOT, LABEL_MORE, OUT_OF_SIGHT = STEPS = ("operate", "pilot", "label_more", "out_of_sight")
_CHOSEN = {TO_PROMPT: PROMPT, NO_DIFFERENCE: PROMPT, TO_FINE_TUNE: FULL}


@dataclass(frozen=True)
class Need:
    """How many labelled images a task needs for an accuracy, by one method.

    Attributes:
        method: its name.
        largest: the largest size that was run.
        chance: share of the resampled studies in which that size reaches the accuracy.
        labels: the labels needed, or None where that is not known.
        low, high: ends of the 95 % interval of `labels`; `high` is infinite where some studies never get there.
        why: where `labels` comes from ("measured" or "forecast"), or why it is not known ("beyond_horizon", "one_size"
            or the caveat of the power law).
    """

    method: str
    largest: int
    chance: float
    labels: int | None
    low: float
    high: float
    why: Statement

    @property
    def measured(self) -> bool:
        """Whether a size that was run reached the accuracy."""
        return self.why.code == "measured"

    @property
    def beyond(self) -> bool:
        """Whether the power law gets there beyond `HORIZON` times the largest size, or never."""
        return self.why.code == "beyond_horizon"


@dataclass(frozen=True)
class Plan:
    """What to do next about one kind of task.

    Attributes:
        step: one of `STEPS`: "operate", "pilot", "label_more" or "out_of_sight".
        method: with which method; None where it is out of sight.
        headline: the step with its numbers.
        reasons: the findings with their numbers; `vptlib.report.words` makes sentences of both.
        further_labels: to buy for all tasks before the next step; 0 where nothing needs to be bought, None if unknown.
        price: of these labels, in the currency of the price of one.
        needs: what each of the two methods needs.
        advice: the choice between the two methods (`vptlib.evidence.decision.recommend`).
    """

    step: str
    method: str | None
    headline: Statement
    reasons: list[Statement]
    further_labels: int | None
    price: float | None
    needs: dict[str, Need]
    advice: Recommendation


def labels_needed(runs: pd.DataFrame, method: str, accuracy: float) -> Need:
    """The labelled images at which `method` reaches `accuracy`: as measured, else by its power law.

    Args:
        runs: one task's table.
        method: one of its methods.
        accuracy: a fraction.

    Raises:
        UserError: the accuracy is not in (0, 1), or the table lacks the method.
    """
    if not 0 < accuracy < 1:
        raise UserError(f"accuracy is {accuracy}, but must be between 0 and 1: 0.9 is 90 per cent.")
    found = accuracies(runs, method)
    largest, chance = int(found.n[-1]), float((found.replicates[-1] >= accuracy).mean())
    return Need(method, largest, chance, *_labels(runs, found, method, accuracy))


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
            statement("who_is_better", n=advice.n, choice=advice.choice, confidence=advice.confidence),
            *(_reach(need, accuracy) for need in needs.values()),
            *_why_this_one(step, method, advice, needs),
            _bill(further, label_price, tasks),
            _storage(runs, tasks),
        ],
        further_labels=further,
        price=price,
        needs=needs,
        advice=advice,
    )


# ---- how many labels --------------------------------------------------------------------------------------------


def _labels(
    runs: pd.DataFrame, found: Resampled, method: str, accuracy: float
) -> tuple[int | None, float, float, Statement]:
    """The last four fields of a `Need`."""
    if found.value[-1] >= accuracy:
        first = int(found.n[np.argmax(found.value >= accuracy)])
        low, high = _interval(_first_sizes(found, accuracy))
        return first, low, high, statement("measured", labels=first, low=_or_never(low), high=_or_never(high))
    if len(found.n) < 2:
        return None, np.inf, np.inf, statement("one_size")
    law = fit_power_law(runs, method)
    if law.caveat is not None:
        return None, np.inf, np.inf, law.caveat
    fitted = float(_sizes_at(np.array([[law.a, law.b, law.c]]), accuracy)[0])
    low, high = _interval(np.maximum(_sizes_at(law.replicates, accuracy), found.n[0]))
    if fitted > HORIZON * law.largest:
        return None, low, high, statement("beyond_horizon", times=HORIZON)
    labels = max(law.largest + 1, math.ceil(fitted))
    return labels, low, high, statement("forecast", labels=labels, low=_or_never(low), high=_or_never(high))


def _or_never(size: float) -> float | None:
    """A size for a statement, whose values must be plain: None stands for never."""
    return None if math.isinf(size) else size


def _first_sizes(found: Resampled, accuracy: float) -> np.ndarray:
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
        return OPERATE, ready[0]
    likelier = max(order, key=lambda method: needs[method].chance)
    if needs[likelier].chance >= 0.5 or needs[likelier].measured:
        return PILOT, likelier
    known = [method for method in order if needs[method].labels is not None]
    if known:
        return LABEL_MORE, min(known, key=lambda method: _next_size(needs[method]))
    return (OUT_OF_SIGHT, None) if all(need.beyond for need in needs.values()) else (LABEL_MORE, likelier)


def _next_size(need: Need) -> int:
    """The labels a task that `need` asks for; where they are not known, twice the largest size."""
    return need.labels or 2 * need.largest


def _further_labels(step: str, method: str | None, needs: dict[str, Need], tasks: int) -> int | None:
    if method is None:  # out of sight
        return None
    if step != LABEL_MORE:
        return 0
    return tasks * (_next_size(needs[method]) - needs[method].largest)


# ---- the headline and the reasons -------------------------------------------------------------------------------


def _headline(step: str, method: str | None, needs: dict[str, Need], accuracy: float) -> Statement:
    if method is None:
        return statement("out_of_sight", accuracy=accuracy)
    if step == OPERATE:
        return statement("operate", method=method)
    if step == PILOT:
        return statement("pilot", method=method, accuracy=accuracy)
    return statement("label_more", labels=_next_size(needs[method]))


def _reach(need: Need, accuracy: float) -> Statement:
    return statement(
        "reach", method=need.method, accuracy=accuracy, n=need.largest, chance=need.chance,
        known=need.labels is not None, why=need.why,
    )  # fmt: skip


def _why_this_one(step: str, method: str | None, advice: Recommendation, needs: dict[str, Need]) -> list[Statement]:
    """Where the method to operate with is not simply the recommended one."""
    if step != OPERATE or method == _CHOSEN.get(advice.choice):
        return []
    if all(need.chance >= HIGH for need in needs.values()):
        return [statement("both_will_do")]
    return [statement("only_one_will_do", method=method)]


def _bill(further: int | None, label_price: float, tasks: int) -> Statement:
    if further is None:
        return statement("no_price", tasks=tasks)
    if not further:
        return statement("nothing_to_buy", tasks=tasks)
    return statement("bill", labels=further, tasks=tasks, label_price=label_price)


def _storage(runs: pd.DataFrame, tasks: int) -> Statement:
    table = costs(runs).set_index("method")["bytes_per_task"]
    return statement("stored", prompt_bytes=tasks * int(table[PROMPT]), full_bytes=tasks * int(table[FULL]))
