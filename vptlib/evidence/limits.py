"""Limits that were set before the test, such as "at most 2 % of the scratches are missed", and whether they are met.

A limit is met if the bound of its rate keeps it, not the rate itself: one-sided, at 95 %, for one further training too
(`Rate.bounds`). It is not met if the mean of the trainings breaks it by the bound on the other side. Else it is open,
and more test images may decide. Where all limits are to be met together, each may be tested at 95 % (intersection-union
test; Berger, Technometrics 24, 1982).

With `every: group` a limit must be met in each group of test images (lot, site, patient) by itself. A group is taken as
it is; its images are drawn. All groups are to meet it together, so each is tested at 95 %. One that breaks it is found
by looking at all of them, so that side is corrected for their number (Bonferroni).

Some limits need more than the answers to the test images, such as the version in production (`GATE_KINDS`). They are
read here too, so that a mistake in them is found before the runs. They are tested when a version is to be promoted
(`vptlib.operations.gates`), and no recommendation depends on them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from vptlib.data.conditions import CORRUPTIONS
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers, Rate, exact_bounds
from vptlib.evidence.certainty import called_defect, defects
from vptlib.evidence.resampling import LEVEL
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
EVERY, GROUP = "every", "group"
# Limits that are tested when a version is to be promoted.
NO_WORSE, CALIBRATION_ERROR, LATENCY = "no_worse_than_production", "calibration_error", "latency"
ROBUSTNESS, EXPLANATIONS = "robustness", "explanations"
GATE_KINDS = (NO_WORSE, CALIBRATION_ERROR, LATENCY, ROBUSTNESS, EXPLANATIONS)
# Kinds of map and checks of them that a limit may name; `vptlib.explanations` has them.
MAPS = ("gradcam", "hirescam", "integrated-gradients", "attention", "rollout")
MAP_CHECKS = ("differences", "faithful", "repeats_itself", "depends_on_the_model")


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        kind: one of `KINDS`. `miss_rate`: share of the images of the classes (the defects) that are called something
            else (good). `false_alarm_rate`: share of the other images that are called one of the classes. With several
            classes, one taken for another is neither a miss nor a false alarm.
        classes: names; none for the accuracy.
        value: a fraction; the most where lower is better, else the least.
        each_group: whether it must be met in each group of test images by itself.
    """

    kind: str
    classes: tuple[str, ...]
    value: float
    each_group: bool = False

    @property
    def side(self) -> str:
        """`AT_MOST` or `AT_LEAST`."""
        return AT_MOST if self.kind in _LOWER_IS_BETTER else AT_LEAST

    def is_kept_by(self, rate: float) -> bool:
        return rate <= self.value if self.side == AT_MOST else rate >= self.value


@dataclass(frozen=True)
class GateLimit:
    """A limit that is tested when a version is to be promoted.

    Attributes:
        kind: one of `GATE_KINDS`.
        given: what the YAML file says of it. `no_worse_than_production`: `by`, a fraction by which the accuracy
            may be below that of production. `calibration_error`: `at_most`, a fraction. `latency`: `at_most`, in
            milliseconds for one image. `robustness`: `corruption`, `severity` and `at_least`, an accuracy.
            `explanations`: `maps`, a kind of map, and `checks`, all of which it must pass.
    """

    kind: str
    given: dict[str, Any]


# ---- reading ----------------------------------------------------------------------------------------------------


def read_limits(given: Mapping[str, Any]) -> list[Limit]:
    """The limits of a YAML file that are rates. Those of `GATE_KINDS` are checked, and left to `read_gate_limits`.

    Args:
        given: kind → a mapping such as `{"class": "scratch", "at_most": 0.02}`, or a list of them. `class` may be a
            list of names. `"every": "group"` may be added.

    Raises:
        UserError: a kind, a key or a value that cannot be; the message has the fix.
    """
    return [limit for limit in _read(given) if isinstance(limit, Limit)]


def read_gate_limits(given: Mapping[str, Any]) -> list[GateLimit]:
    """The limits of a YAML file that are tested when a version is to be promoted. Args, Raises: as `read_limits`."""
    return [limit for limit in _read(given) if isinstance(limit, GateLimit)]


def left_for_promotion(given: Mapping[str, Any]) -> list[Statement]:
    """That some limits are not tested in a report, and which; nothing where all are. Args, Raises: as `read_limits`."""
    kinds = list(dict.fromkeys(limit.kind for limit in read_gate_limits(given)))
    return [statement("limits_at_promotion", kinds=kinds)] if kinds else []


def _read(given: Mapping[str, Any]) -> list[Limit | GateLimit]:
    found: list[Limit | GateLimit] = []
    for kind, entries in given.items():
        known = (*KINDS, *GATE_KINDS)
        if kind not in known:
            raise UserError(f"limits has no {kind!r}: {did_you_mean(str(kind), known, f'take {_all(known)}.')}")
        read = _limit if kind in KINDS else _gate_limit
        found += [read(kind, entry) for entry in (entries if isinstance(entries, list | tuple) else [entries])]
    return found


def _limit(kind: str, entry: Any) -> Limit:
    side = AT_MOST if kind in _LOWER_IS_BETTER else AT_LEAST
    example = f"{{class: scratch, {side}: 0.02}}" if kind in _OF_CLASSES else f"{{{side}: 0.9}}"
    keys = ("class", side) if kind in _OF_CLASSES else (side,)
    if not isinstance(entry, Mapping) or set(entry) - {EVERY} != set(keys):
        raise UserError(
            f"the limit {kind!r} must have {_all(keys)}, such as {kind}: {example}, and may have every: group."
        )
    if entry.get(EVERY, GROUP) != GROUP:
        raise UserError(f"every of the limit {kind!r} is {entry[EVERY]!r}, but must be group, or be left out.")
    _check_fraction(kind, side, entry[side])
    return Limit(kind, _class_names(kind, entry.get("class", [])), float(entry[side]), EVERY in entry)


def _check_fraction(kind: str, key: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value <= 1:
        raise UserError(f"{key} of the limit {kind!r} is {value!r}, but must be a fraction from 0 to 1, such as 0.02.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _class_names(kind: str, given: Any) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, list | tuple) else (given,)
    if kind in _OF_CLASSES and not names:
        raise UserError(f"the limit {kind!r} names no class: give one, or a list.")
    if kind in (RECALL, PRECISION) and len(names) > 1:
        raise UserError(f"the limit {kind!r} names {len(names)} classes: give a limit for each, as a list.")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UserError(f"class of the limit {kind!r} is {wrong[0]!r}: put the name of a class in quotes.")
    return names


def _gate_limit(kind: str, entry: Any) -> GateLimit:
    keys, example = _GATE_KEYS[kind]
    if not isinstance(entry, Mapping) or set(entry) != set(keys):
        raise UserError(f"the limit {kind!r} must have {_all(tuple(keys))}, such as {kind}: {example}.")
    for key, check in keys.items():
        check(kind, key, entry[key])
    return GateLimit(kind, dict(entry))


def _check_allowed(kind: str, key: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value < 1:
        raise UserError(f"{key} of the limit {kind!r} is {value!r}, but must be a fraction below 1, such as 0.01.")


def _check_milliseconds(kind: str, key: str, value: Any) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise UserError(f"{key} of the limit {kind!r} is {value!r}, but must be milliseconds above 0, such as 50.")


def _check_severity(kind: str, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise UserError(f"{key} of the limit {kind!r} is {value!r}, but must be a whole number from 1 to 5.")


def _check_checks(kind: str, key: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"{key} of the limit {kind!r} is {value!r}, but must be a list of {_all(MAP_CHECKS)}.")
    for name in value:
        _one_of(MAP_CHECKS)(kind, key, name)


def _one_of(names: Sequence[str]) -> Callable[[str, str, Any], None]:
    def check(kind: str, key: str, value: Any) -> None:
        if value not in names:
            hint = did_you_mean(str(value), names, f"take one of {_all(names)}.")
            raise UserError(f"{key} of the limit {kind!r} is {value!r}: {hint}")

    return check


# Kind → its keys, each with the check of its value, and an example.
_GATE_KEYS: dict[str, tuple[dict[str, Callable[[str, str, Any], None]], str]] = {
    NO_WORSE: ({"by": _check_allowed}, "{by: 0.01}"),
    CALIBRATION_ERROR: ({AT_MOST: _check_fraction}, "{at_most: 0.05}"),
    LATENCY: ({AT_MOST: _check_milliseconds}, "{at_most: 50}"),
    ROBUSTNESS: (
        {"corruption": _one_of(tuple(CORRUPTIONS)), "severity": _check_severity, AT_LEAST: _check_fraction},
        "{corruption: blur, severity: 3, at_least: 0.8}",
    ),
    EXPLANATIONS: (
        {"maps": _one_of(MAPS), "checks": _check_checks},
        "{maps: gradcam, checks: [faithful, depends_on_the_model]}",
    ),
}


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
        verdict: one of `VERDICTS`; the worst, where it is for each group.
        rate: as measured.
        bound: the one-sided 95 % bound of the rate on the side of the limit.
        group: where the limit is for each group: the name of the worst one, of which all figures are; else "".
        groups: how many there are; 0 where the limit is for all test images together, or there are no groups.
        not_shown: in how many of them the limit is not shown to be met.
    """

    limit: Limit
    verdict: str
    rate: Rate
    bound: float
    group: str = ""
    groups: int = 0
    not_shown: int = 0

    @cached_property
    def needed(self) -> int | None:
        """Test images that count for the rate that would be needed to show that the limit is met, if the rate stays.

        None if no number of them would show it. Of a limit that is met: those it has. Of one for which no image counts:
        those that it takes at least.
        """
        if self.verdict == MET:
            return round(self.rate.cases)
        if self.verdict == NOT_MET:
            return None
        return _needed(self.limit, self.rate) if self.rate.cases else fewest_images(self.limit)

    def finding(self) -> Statement:
        """The sentence about it."""
        if not self.limit.each_group:
            return self._of_rate()
        if not self.groups:
            return statement("limit_without_groups", kind=self.limit.kind, names=list(self.limit.classes))
        return statement(
            "limit_in_groups", group=self.group, groups=self.groups, not_shown=self.not_shown, finding=self._of_rate(),
            needed=None if self.rate.cases else self.needed,
        )  # fmt: skip

    def _of_rate(self) -> Statement:
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
    wanted = limits_for(limits, answers.class_names)
    return [_in_each_group(answers, limit) if limit.each_group else _tested(answers, limit) for limit in wanted]


def _in_each_group(answers: Answers, limit: Limit) -> Tested:
    """The limit in its worst group."""
    if answers.groups is None:
        return replace(_tested(answers, limit), verdict=UNDECIDED)
    within = replace(answers, groups=None)
    numbers = np.unique(answers.groups).tolist()
    found = {number: _tested(within, limit, answers.groups == number, len(numbers)) for number in numbers}
    worst = min(found, key=lambda number: _how_good(found[number]))
    names, not_shown = answers.group_names, sum(tested.verdict != MET for tested in found.values())
    name = names[worst] if 0 <= worst < len(names) else str(worst)
    return replace(found[worst], group=name, groups=len(numbers), not_shown=not_shown)


def _how_good(tested: Tested) -> tuple[float, ...]:
    """By what groups are ordered, the worst first: verdict, whether the rate keeps the limit, and how far its bound.

    A group for which no image counts comes before those whose rate keeps the limit.
    """
    limit, seen = tested.limit, tested.rate.cases > 0
    verdicts = (NOT_MET, UNDECIDED, MET)
    spare = (tested.bound - limit.value) * (1 if limit.side == AT_LEAST else -1) if seen else -math.inf
    return verdicts.index(tested.verdict), float(not seen or limit.is_kept_by(tested.rate.value)), spare


def _tested(answers: Answers, limit: Limit, among: np.ndarray | None = None, looks: int = 1) -> Tested:
    """The limit on the test images `among`, bool `I`; one of so many looks at the same answers."""
    hits, cases = _hits_and_cases(answers, limit)
    rate = answers.rate(hits, cases if among is None else cases & among)
    if not rate.cases:
        return Tested(limit, UNDECIDED, rate, math.nan)
    bound = rate.bounds()[_side_of(limit)]
    if limit.is_kept_by(bound):
        return Tested(limit, MET, rate, bound)
    other_side = exact_bounds(rate.value, rate.effective, 1 - (1 - LEVEL) / looks)[1 - _side_of(limit)]
    return Tested(limit, UNDECIDED if limit.is_kept_by(other_side) else NOT_MET, rate, bound)


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
    return rounded_up(high)


def rounded_up(number: int) -> int:
    """To two digits: 149 → 150."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / unit) * unit


def fewest_images(limit: Limit) -> int | None:
    """How many images it takes at least, all of them right, to show that the limit is met; None if none would do."""
    allowed = limit.value if limit.side == AT_MOST else 1 - limit.value  # share of mistakes
    if allowed <= 0:
        return None
    return max(1, math.ceil(math.log(1 - LEVEL) / math.log1p(-allowed) - 1e-9)) if allowed < 1 else 1


def _would_show(limit: Limit, rate: Rate, cases: int) -> bool:
    """Whether the bound keeps the limit with so many cases, at the same rate and the same spread."""
    times = cases / rate.cases
    low, high = exact_bounds(rate.value, rate.effective * times)
    reach = rate.reach_of_one(rate.image_variance / times)
    return limit.is_kept_by(max(high, rate.value + reach) if limit.side == AT_MOST else min(low, rate.value - reach))
