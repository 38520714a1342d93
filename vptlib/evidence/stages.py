"""The plan in stages: try, operate, collect, decide again.

The plan prints the recommendation (`vptlib.evidence.decision`) as steps, so the two never differ. What it adds
is the chance that one training of the method, the model that will run, reaches the accuracy that is needed:

    operate       a method is advised, and the chance is 95 % or more; or no accuracy was asked for, and it says so
    pilot         a method or more labels are advised, and the chance is 50 % or more: the answers are used where a
                  person checks each of them
    label_more    the same, and the chance is less than that
    study_more    the study must first be finished: more seeds, test images, training or a larger input
    out_of_sight  nothing works

A trial with prompts comes first because it is cheap to begin and to take back. That is a rule of this house and no
finding. Labels needed are read at sizes that were run, never beyond them.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.contest import HIGH
from vptlib.evidence.prices import Prices
from vptlib.evidence.recommendation import MORE_LABELS, NO_ANSWER, NOTHING_WORKS, PROMPT
from vptlib.evidence.recommendation import STEPS as ASKING
from vptlib.evidence.resampling import joint
from vptlib.evidence.shrinkage import shrunk
from vptlib.statement import Statement, statement

OPERATE, PILOT, LABEL_MORE, STUDY_MORE, OUT_OF_SIGHT = STAGES = (
    "operate",
    "pilot",
    "label_more",
    "study_more",
    "out_of_sight",
)
EVEN = 0.5


@dataclass(frozen=True)
class Plan:
    """What to do with this kind of task, in stages.

    Attributes:
        stage: one of `STAGES`.
        method: with which method; None where nothing works.
        chance: that one training of it reaches the accuracy needed; NaN where none was given.
        headline: the stage with its numbers.
        stages: what was tried, what to do now, what to collect, and when to decide again.
    """

    stage: str
    method: str | None
    chance: float
    headline: Statement
    stages: list[Statement]


def chances(runs: pd.DataFrame, needed: float) -> pd.DataFrame:
    """Chance that one training reaches an accuracy, by size (index) and method (columns); NaN where it was not run.

    Args:
        runs: one task's table.
        needed: the accuracy, a fraction.

    Raises:
        UserError: the accuracy is not in (0, 1), or the table cannot be used.
    """
    _checked(needed)
    methods = list(dict.fromkeys(runs["method"]))
    rows = {}
    for n in sorted(set(runs["n"])):
        found = _single(runs, int(n))
        rows[int(n)] = {method: float((found[method] >= needed).mean()) for method in methods if method in found}
    return pd.DataFrame.from_dict(rows, orient="index", columns=methods)


def _checked(needed: float) -> float:
    if not 0 < needed < 1:
        raise UserError(f"accuracy_needed is {needed}, but must be between 0 and 1: 0.9 is 90 per cent.")
    return needed


def _single(runs: pd.DataFrame, n: int) -> dict[str, np.ndarray]:
    """Method → accuracy of one further training at a size, `B`."""
    found = shrunk(joint(runs, n))
    singles = dict(zip(found.methods, found.single, strict=True))
    there = set(runs.loc[runs["n"] == n, "method"])
    for method in there - set(found.methods):  # it shares no seed with the others, so it stands alone
        singles[method] = joint(runs[runs["method"] == method], n).single[0]
    return singles


def labels_needed(runs: pd.DataFrame, needed: float, least: float = HIGH) -> dict[str, int | None]:
    """Method → the smallest size that was run at which one training reaches the accuracy; None where none does.

    Args:
        runs, needed: as for `chances`.
        least: the chance that is asked for.

    Raises:
        UserError: as `chances`.
    """
    table = chances(runs, needed)
    reached = {method: table.index[table[method] >= least] for method in table}
    return {str(method): int(sizes[0]) if len(sizes) else None for method, sizes in reached.items()}


def plan(
    runs: pd.DataFrame,
    choice: str,
    method: str | None,
    *,
    needed: float | None = None,
    decide_again_at: int | None = None,
    why_then: Statement | None = None,
    prices: Prices | None = None,
) -> Plan:
    """The plan in stages, by the rule at the head of this module.

    Args:
        runs: one task's table.
        choice, method, decide_again_at: of the recommendation (`vptlib.evidence.decision.recommend`).
        needed: the accuracy that the work needs, a fraction (or that of the present way of working, if that is more);
            None if none was given.
        why_then: the statement on `decide_again_at` (`vptlib.evidence.forecast.Forecast.decide_again_why`); by default
            it is called a convention.
        prices: with the number of checks a month and the price of a label; by default assumed.

    Raises:
        UserError: as `chances`.
    """
    prices = prices or Prices()
    chance = math.nan if needed is None or method is None else _chance(runs, method, needed)
    stage = _stage(choice, chance)
    headline = _headline(stage, choice, method, chance, needed)
    return Plan(
        stage,
        method,
        chance,
        headline,
        [
            _tried(runs, choice),
            headline,
            *_collect(stage, runs, decide_again_at, prices),
            _again(stage, runs, decide_again_at, why_then),
        ],
    )


def _chance(runs: pd.DataFrame, method: str, needed: float) -> float:
    """At the largest size that the method was run at."""
    n = int(runs.loc[runs["method"] == method, "n"].max())
    return float((_single(runs, n)[method] >= _checked(needed)).mean())


def _stage(choice: str, chance: float) -> str:
    if choice == NOTHING_WORKS:
        return OUT_OF_SIGHT
    if choice == MORE_LABELS:
        return PILOT if chance >= EVEN else LABEL_MORE
    if choice in ASKING:
        return STUDY_MORE
    if math.isnan(chance) or chance >= HIGH:
        return OPERATE
    return PILOT if chance >= EVEN else LABEL_MORE


def _headline(stage: str, choice: str, method: str | None, chance: float, needed: float | None) -> Statement:
    if stage == OUT_OF_SIGHT:
        return statement("out_of_sight", needed=needed)
    if stage == STUDY_MORE:
        return statement("study_more", choice=choice, chance=None if math.isnan(chance) else chance, needed=needed)
    if stage == LABEL_MORE:
        return statement("label_more", chance=None if math.isnan(chance) else chance, needed=needed)
    if needed is None:
        return statement("operate_unasked", method=method)
    if stage == OPERATE:
        return statement("operate", method=method, chance=chance, needed=needed)
    return statement("pilot", method=method, chance=chance, needed=needed)


def _tried(runs: pd.DataFrame, choice: str) -> Statement:
    largest = int(runs["n"].max())
    stored = runs.loc[runs["method"] == PROMPT, "bytes_per_task"]
    return statement(
        "tried", n=largest, images=len(runs["correct"].iloc[0]), finished=choice != NO_ANSWER,
        prompt_bytes=float(stored.median()) if len(stored) else None,
    )  # fmt: skip


def _collect(stage: str, runs: pd.DataFrame, decide_again_at: int | None, prices: Prices) -> list[Statement]:
    """The labels until the next decision: from checked answers where the model works, else bought."""
    if decide_again_at is None or stage in (OUT_OF_SIGHT, STUDY_MORE):
        return []
    more = decide_again_at - int(runs["n"].max())
    price = more * prices.of("label_price").likely if prices.priced else None
    checks = prices.of("checks_per_month").likely
    if stage == LABEL_MORE or checks == 0:
        return [statement("buy_labels", labels=more, price=price)] if more > 0 else []
    months = math.ceil(more / checks)
    given = prices.given("checks_per_month")
    return [statement("collect", checks=checks, labels=more, months=months, given=given)] if more > 0 else []


def _again(stage: str, runs: pd.DataFrame, decide_again_at: int | None, why_then: Statement | None) -> Statement:
    if stage == OUT_OF_SIGHT:
        return statement("again_with_another_backbone")
    if decide_again_at is None or stage == STUDY_MORE:
        return statement("again_when_finished")
    times = round(decide_again_at / int(runs["n"].max()))
    return why_then or statement("decide_again_by_convention", n=decide_again_at, times=times)
