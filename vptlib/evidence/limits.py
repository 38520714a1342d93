"""Limits that were set before the test, such as "at most 2 % of the scratches are missed", and whether they are met.

A limit is met if the bound of its rate keeps it, not the rate itself: one-sided, at 95 %, for one further training too
(`Rate.bounds`). It is not met if the mean of the trainings breaks it by the bound on the other side. Else it is open,
and more test images may decide. Where all limits are to be met together, each may be tested at 95 % (intersection-union
test; Berger, Technometrics 24, 1982).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers, Rate, exact_bounds
from vptlib.evidence.certainty import called_defect, defects
from vptlib.statement import Statement, statement
from vptlib.wording import did_you_mean

MISS_RATE, FALSE_ALARM_RATE = "miss_rate", "false_alarm_rate"
RECALL, PRECISION, ACCURACY = "recall", "precision", "accuracy"
KINDS = (MISS_RATE, FALSE_ALARM_RATE, RECALL, PRECISION, ACCURACY)
AT_MOST, AT_LEAST = "at_most", "at_least"
MET, NOT_MET, UNDECIDED = VERDICTS = ("met", "not_met", "undecided")
# Rates of which a lower one is better, and those that are of one class or more.
_LOWER_IS_BETTER = (MISS_RATE, FALSE_ALARM_RATE)
_OF_CLASSES = (MISS_RATE, FALSE_ALARM_RATE, RECALL, PRECISION)
_MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        kind: one of `KINDS`. `miss_rate`: share of the images of the classes (the defects) that are called something
            else (good). `false_alarm_rate`: share of the other images that are called one of the classes. With several
            classes, one taken for another is neither a miss nor a false alarm.
        classes: names; none for the accuracy.
        value: a fraction; the most where lower is better, else the least.
    """

    kind: str
    classes: tuple[str, ...]
    value: float

    @property
    def side(self) -> str:
        """`AT_MOST` or `AT_LEAST`."""
        return AT_MOST if self.kind in _LOWER_IS_BETTER else AT_LEAST

    def is_kept_by(self, rate: float) -> bool:
        return rate <= self.value if self.side == AT_MOST else rate >= self.value


# ---- reading ----------------------------------------------------------------------------------------------------


def read_limits(given: Mapping[str, Any]) -> list[Limit]:
    """The limits of a YAML file.

    Args:
        given: kind → a mapping such as `{"class": "scratch", "at_most": 0.02}`, or a list of them. `class` may be a
            list of names.

    Raises:
        UserError: a kind, a key or a value that cannot be; the message has the fix.
    """
    found = []
    for kind, entries in given.items():
        if kind not in KINDS:
            raise UserError(f"limits has no {kind!r}: {did_you_mean(str(kind), KINDS, f'take {_all(KINDS)}.')}")
        found += [_limit(kind, entry) for entry in (entries if isinstance(entries, list | tuple) else [entries])]
    return found


def _limit(kind: str, entry: Any) -> Limit:
    side = AT_MOST if kind in _LOWER_IS_BETTER else AT_LEAST
    example = f"{{class: scratch, {side}: 0.02}}" if kind in _OF_CLASSES else f"{{{side}: 0.9}}"
    keys = ("class", side) if kind in _OF_CLASSES else (side,)
    if not isinstance(entry, Mapping) or set(entry) != set(keys):
        raise UserError(f"the limit {kind!r} must have {_all(keys)}, such as {kind}: {example}.")
    value = entry[side]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{side} of the limit {kind!r} is {value!r}, but must be a fraction from 0 to 1, such as 0.02.")
    return Limit(kind, _class_names(kind, entry.get("class", [])), float(value))


def _class_names(kind: str, given: Any) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, list | tuple) else (given,)
    if kind in _OF_CLASSES and not names:
        raise UserError(f"the limit {kind!r} names no class: give one, or a list.")
    if kind in (RECALL, PRECISION) and len(names) > 1:
        raise UserError(f"the limit {kind!r} names {len(names)} classes: give a limit for each, as a list.")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UserError(f"class of the limit {kind!r} is {wrong[0]!r}: put the name of a class in quotes.")
    return names


def check_classes(limits: Sequence[Limit], class_names: Sequence[str]) -> None:
    """Refuse a limit for a class that there is not.

    Raises:
        UserError: the message has the classes.
    """
    for limit in limits:
        for name in limit.classes:
            if name not in class_names:
                few = ", ".join(class_names[:20]) + (", …" if len(class_names) > 20 else "")
                hint = did_you_mean(name, class_names, f"the classes are {few}.")
                raise UserError(f"the limit {limit.kind!r} is for a class {name!r} that there is not: {hint}")


def limits_for(limits: Sequence[Limit], class_names: Sequence[str]) -> list[Limit]:
    """The limits whose classes are all there: a report of several tasks has limits for classes of some of them."""
    return [limit for limit in limits if set(limit.classes) <= set(class_names)]


def _all(names: Sequence[str]) -> str:
    return ", ".join(names)


# ---- testing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tested:
    """A limit after its test.

    Attributes:
        verdict: one of `VERDICTS`.
        rate: as measured.
        bound: the one-sided 95 % bound of the rate on the side of the limit.
        needed: test images that count for the rate that would be needed to show that the limit is met, if the rate
            stays as it is; None if no number of them would show it. Of a limit that is met: those it has.
    """

    limit: Limit
    verdict: str
    rate: Rate
    bound: float
    needed: int | None

    def finding(self) -> Statement:
        """The sentence about it."""
        limit, rate = self.limit, self.rate
        about = {"kind": limit.kind, "names": list(limit.classes), "limit": limit.value}
        if not rate.cases:
            return statement("limit_without_images", **about)
        about |= {"value": rate.value, "bound": self.bound, "images": round(rate.cases)}
        about["trainings"] = rate.trainings
        if self.verdict == MET:
            return statement("limit_met", **about)
        if self.verdict == NOT_MET:
            return statement("limit_not_met", **about)
        if self.needed is None:
            return statement("limit_open_for_good", **about, keeps=limit.is_kept_by(rate.value))
        return statement("limit_open", **about, needed=self.needed)


def limits_tested(answers: Answers, limits: Sequence[Limit]) -> list[Tested]:
    """Each limit whose classes the task has, tested on all trainings."""
    return [_tested(answers, limit) for limit in limits_for(limits, answers.class_names)]


def _tested(answers: Answers, limit: Limit) -> Tested:
    rate = answers.rate(*_hits_and_cases(answers, limit))
    if not rate.cases:
        return Tested(limit, UNDECIDED, rate, math.nan, None)
    bound = rate.bounds()[_side_of(limit)]
    if limit.is_kept_by(bound):
        return Tested(limit, MET, rate, bound, round(rate.cases))
    if not limit.is_kept_by(exact_bounds(rate.value, rate.effective)[1 - _side_of(limit)]):
        return Tested(limit, NOT_MET, rate, bound, None)
    return Tested(limit, UNDECIDED, rate, bound, _needed(limit, rate))


def _side_of(limit: Limit) -> int:
    """Which of (low, high) is the bound that has to keep the limit."""
    return 1 if limit.side == AT_MOST else 0


def _hits_and_cases(answers: Answers, limit: Limit) -> tuple[np.ndarray, np.ndarray]:
    """What counts for the rate, bool `S I`, and of what it is a share."""
    everything = np.ones_like(answers.right)
    if limit.kind == ACCURACY:
        return answers.right, everything
    is_one, called = defects(answers, limit.classes), called_defect(answers, limit.classes)  # I, S I
    return {
        MISS_RATE: (~called, is_one & everything),
        FALSE_ALARM_RATE: (called, ~is_one & everything),
        RECALL: (called, is_one & everything),
        PRECISION: (is_one & everything, called),
    }[limit.kind]


def _needed(limit: Limit, rate: Rate) -> int | None:
    """The number of cases at which the bound keeps the limit, if the rate stays; two digits, rounded up."""
    if not limit.is_kept_by(rate.value):
        return None
    low, high = round(rate.cases), 2 * round(rate.cases) + 2
    while not _would_show(limit, rate, high):
        low, high = high, 2 * high
        if high > _MOST_IMAGES:
            return None
    while high - low > 1:
        between = (low + high) // 2
        low, high = (low, between) if _would_show(limit, rate, between) else (between, high)
    unit = 10 ** max(0, len(str(high)) - 2)
    return math.ceil(high / unit) * unit


def _would_show(limit: Limit, rate: Rate, cases: int) -> bool:
    """Whether the bound keeps the limit with so many cases, at the same rate and the same spread."""
    times = cases / rate.cases
    low, high = exact_bounds(rate.value, rate.effective * times)
    reach = rate.reach_of_one(rate.image_variance / times)
    return limit.is_kept_by(max(high, rate.value + reach) if limit.side == AT_MOST else min(low, rate.value - reach))
