"""Whether checked answers show that an accepted limit is broken, valid however often somebody looks.

A limit such as "at most 2 % of the scratches are missed" was accepted on the test images. In use, a person checks some
answers, one after the other, and looks at the count at any time. A usual test, repeated after each answer, finds at
last that every limit is broken. This one does not. It is a bet against the limit that starts with 1:

    E = ∫ L(q) / L(m) w(q) dq over the mistake rates q > m that break the limit,

with the likelihood L of h mistakes in n cases, the mistake rate m that the limit allows, and a beta density w that is
cut off at m. While the limit holds, E is a supermartingale, so it ever reaches 1 / alpha with probability alpha at most
(Ville 1939). Mixtures of this kind are those of Robbins (Annals of Mathematical Statistics 41, 1970). Howard et al.
(Annals of Statistics 49, 2021) and Ramdas et al. (Statistical Science 38, 2023) survey them. The integral is a ratio of
incomplete beta functions.

With several limits, each has its share of alpha. Where a limit is to be met in every group, the j-th group that comes
has 1 / (j (j + 1)) of it: these shares sum to 1, however many groups will come.

Once broken, a limit stays broken for this version: later answers that are good do not take back what was shown.

What it cannot see: answers that were not drawn at random. Checks that people choose themselves (doubtful ones, say)
have another mistake rate, so they do not count. Where people check only some of the drawn ones, such as the easy ones,
the rate is that of these. Drawn images of one lot are taken as independent.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincc, betaln, xlog1py, xlogy

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.evidence.certainty import called_defect, defects
from vptlib.evidence.limits import (
    ACCURACY,
    AT_MOST,
    FALSE_ALARM_RATE,
    MISS_RATE,
    RECALL,
    Limit,
    limits_for,
    rounded_up,
)
from vptlib.statement import Statement, statement

# A limit that holds is found broken with this probability at most, over all limits and all looks.
ALPHA = 0.05
# The density w has the mean of the limit and is as certain as so many images; so most of it is at rates near the limit.
_IMAGES = 10
_LEAST = 0.5  # of both parameters of a beta density
_MOST_ANSWERS = 10_000_000
_TAIL = 1e-250  # probabilities below are computed in logarithms
_STEPS = 500  # of the continued fraction at most
NO_CASES, NO_GROUPS, BROKEN, HOLDS, OPEN = VERDICTS = ("no_cases", "no_groups", "broken", "holds", "open")


@dataclass(frozen=True)
class Watched:
    """A limit, and what the checked answers show of it.

    Attributes:
        limit: the limit.
        group: the group, where it must be met in each; None for all images.
        hits, cases: the counts of its rate: of an accuracy the right ones, of a miss rate the misses.
        low, high: ends of the 95 % interval of the rate, which holds at all times together (confidence sequence).
        evidence: log10 of E now. Above 0 the answers speak against the limit.
        most: log10 of the largest E so far, at least 0.
        most_at: number of the checked answer after which it was that; None before the first case.
        needed_evidence: log10 of E at which the limit counts as broken.
        broken_at: number of the checked answer that showed the limit broken, from 0; None while it is not.
        needed: about how many more checked answers would show it, if its rate stays as it looks now; None where the
            rate keeps the limit, or there is no case, or it is broken.
        has_groups: False where it must be met in each group and groups are not known: it is not watched then.
    """

    limit: Limit
    group: str | int | None
    hits: int
    cases: int
    low: float
    high: float
    evidence: float
    most: float
    most_at: int | None
    needed_evidence: float
    broken_at: int | None
    needed: int | None
    has_groups: bool = True

    @property
    def rate(self) -> float:
        """A fraction; NaN without a case."""
        return self.hits / self.cases if self.cases else math.nan

    @property
    def broken(self) -> bool:
        return self.broken_at is not None

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`; `HOLDS` where the whole interval keeps the limit."""
        if not self.has_groups:
            return NO_GROUPS
        if self.broken:
            return BROKEN
        if not self.cases:
            return NO_CASES
        return HOLDS if self.limit.is_kept_by(self.high if self.limit.side == AT_MOST else self.low) else OPEN

    def finding(self) -> Statement:
        """The sentence about it."""
        about = {"kind": self.limit.kind, "names": list(self.limit.classes), "limit": self.limit.value}
        about["group"] = self.group
        if self.verdict == NO_GROUPS:
            return statement("watch_without_groups", **about)
        if self.verdict == NO_CASES:
            return statement("watch_no_cases", **about)
        about |= {"value": self.rate, "low": self.low, "high": self.high, "cases": self.cases}
        if self.broken_at is not None:
            return statement("watch_broken", **about, after=self.broken_at + 1)
        if self.verdict == HOLDS:
            return statement("watch_holds", **about)
        return statement("watch_open", **about, needed=self.needed)


def watch_limits(
    truth: np.ndarray,
    answer: np.ndarray,
    drawn: np.ndarray,
    class_names: Sequence[str],
    limits: Sequence[Limit],
    groups: np.ndarray | None = None,
    alpha: float = ALPHA,
) -> list[Watched]:
    """What checked answers show of each limit whose classes the task has.

    Args:
        truth: true classes that people gave, as numbers, int `n`, in the order in which they were checked.
        answer: classes that the model had answered, int `n`.
        drawn: whether each was drawn at random to be checked, bool `n`. Only those count.
        class_names: of the numbers.
        limits: from `vptlib.evidence.limits.read_limits`.
        groups: names or numbers of lots, sites or patients, `n`; None where they are not known.
        alpha: probability of any limit that holds to be found broken, ever.

    Returns:
        One entry a limit; of one that must be met in each group, one a group, in the order in which they came.

    Raises:
        UserError: arrays of other lengths, or classes without a name.
    """
    truth, answer, drawn = np.asarray(truth), np.asarray(answer), np.asarray(drawn, dtype=bool)
    _check(truth, answer, drawn, groups)
    counted = np.flatnonzero(drawn)
    known = None if groups is None else np.asarray(groups)[counted]
    wanted = limits_for(limits, class_names)
    found = []
    for limit in wanted:
        hits, cases = _hits_and_cases(truth[counted], answer[counted], tuple(class_names), limit)
        share = alpha / len(wanted)
        if not limit.each_group:
            found.append(_watched(limit, None, hits, cases, counted, share))
        elif known is not None:
            found += _in_groups(limit, known, hits, cases, counted, share)
        else:
            found.append(_watched(limit, None, hits & False, cases & False, counted, share, has_groups=False))
    return found


def not_drawn(drawn: np.ndarray) -> list[Statement]:
    """That some checked answers do not count, because they were not drawn at random; nothing where all were."""
    left_out = int((~np.asarray(drawn, dtype=bool)).sum())
    return [statement("watch_not_drawn", answers=left_out, of=len(drawn))] if left_out else []


def _check(truth: np.ndarray, answer: np.ndarray, drawn: np.ndarray, groups: np.ndarray | None) -> None:
    for name, given in (("answer", answer), ("drawn", drawn), ("groups", groups)):
        if given is not None and len(given) != len(truth):
            raise UserError(f"{name} has {len(given)} entries, but truth has {len(truth)}.")


def _in_groups(
    limit: Limit, groups: np.ndarray, hits: np.ndarray, cases: np.ndarray, counted: np.ndarray, alpha: float
) -> Iterator[Watched]:
    """One entry a group, in the order of their first answers."""
    names, first = np.unique(groups, return_index=True)
    for number, name in enumerate(names[np.argsort(first)], start=1):
        among, share = groups == name, alpha / (number * (number + 1))
        yield _watched(limit, name.item(), hits & among, cases & among, counted, share)


def _hits_and_cases(
    truth: np.ndarray, answer: np.ndarray, class_names: tuple[str, ...], limit: Limit
) -> tuple[np.ndarray, np.ndarray]:
    """What counts for the rate, and of what it is a share, bool `n` each."""
    if not len(truth):
        return np.zeros(0, bool), np.zeros(0, bool)
    answers = Answers(answer[None], truth, class_names)
    if limit.kind == ACCURACY:
        return answers.right[0], np.ones(len(truth), bool)
    is_one, called = defects(answers, limit.classes), called_defect(answers, limit.classes)[0]
    if limit.kind == MISS_RATE:
        return ~called & is_one, is_one
    if limit.kind == FALSE_ALARM_RATE:
        return called & ~is_one, ~is_one
    return called & is_one, is_one if limit.kind == RECALL else called


def _watched(
    limit: Limit,
    group: str | int | None,
    hits: np.ndarray,
    cases: np.ndarray,
    counted: np.ndarray,
    alpha: float,
    has_groups: bool = True,
) -> Watched:
    rows = np.flatnonzero(cases)
    allowed = limit.value if limit.side == AT_MOST else 1 - limit.value
    wrong = hits[rows] if limit.side == AT_MOST else ~hits[rows]
    needed = -math.log(alpha)
    path = log_evidence(np.cumsum(wrong), np.arange(1, len(rows) + 1), allowed)  # of each case
    reached = np.flatnonzero(path >= needed)
    mistakes, seen = int(wrong.sum()), len(rows)
    low, high = confidence_sequence(mistakes, seen, allowed)
    broken_at = int(counted[rows[reached[0]]]) if len(reached) else None
    more = None if broken_at is not None or not seen else _more(mistakes, seen, allowed, needed, len(counted))
    largest = int(path.argmax()) if seen else None
    return Watched(
        limit=limit,
        group=group,
        hits=int(hits[rows].sum()),
        cases=seen,
        low=low if limit.side == AT_MOST else 1 - high,
        high=high if limit.side == AT_MOST else 1 - low,
        evidence=float(path[-1] / math.log(10)) if seen else 0.0,
        most=max(0.0, float(path.max() / math.log(10))) if seen else 0.0,
        most_at=None if largest is None else int(counted[rows[largest]]),
        needed_evidence=needed / math.log(10),
        broken_at=broken_at,
        needed=more,
        has_groups=has_groups,
    )


# ---- the bet ----------------------------------------------------------------------------------------------------


def log_evidence(mistakes: ArrayLike, cases: ArrayLike, allowed: float) -> np.ndarray:
    """The natural logarithm of E, of any shape, after so many mistakes in so many cases.

    Args:
        allowed: the mistake rate m of the limit. With m = 0 the first mistake breaks it: E is infinite. With m = 1
            nothing can: E is 1.
    """
    mistakes, cases = np.asarray(mistakes, dtype=np.float64), np.asarray(cases, dtype=np.float64)
    if allowed >= 1:
        return np.zeros(np.broadcast_shapes(mistakes.shape, cases.shape))
    a, b = _density(allowed)
    if allowed <= 0:
        return np.where(mistakes > 0, math.inf, betaln(a, b + cases) - betaln(a, b))
    after = betaln(a + mistakes, b + cases - mistakes) + _log_above(a + mistakes, b + cases - mistakes, allowed)
    before = betaln(a, b) + _log_above(np.asarray(a), np.asarray(b), allowed)
    return after - before - xlogy(mistakes, allowed) - xlog1py(cases - mistakes, -allowed)


def _density(allowed: float) -> tuple[float, float]:
    """The parameters of w."""
    return max(_LEAST, _IMAGES * allowed), max(_LEAST, _IMAGES * (1 - allowed))


def _log_above(a: np.ndarray, b: np.ndarray, x: float) -> np.ndarray:
    """The logarithm of the probability that a beta variable is above x, also where that is no number of a machine."""
    a, b, found = np.broadcast_arrays(a, b, betaincc(a, b, x))
    tiny = found < _TAIL
    logs = np.array(np.log(np.where(tiny, 1.0, found)))
    if tiny.any():
        logs[tiny] = _log_tail(b[tiny], a[tiny], 1 - x)
    return logs


def _log_tail(a: np.ndarray, b: np.ndarray, x: float) -> np.ndarray:
    """The logarithm of the incomplete beta function I_x(a, b) far below its mean, by its continued fraction.

    DLMF 8.17.22, by Lentz's method.
    """
    least = 1e-300
    c = np.ones_like(a)
    d = 1 / _away_from_0(1 - (a + b) * x / (a + 1), least)
    fraction = d.copy()
    for m in range(1, _STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_0(1 + term * d, least)
            c = _away_from_0(1 + term / c, least)
            fraction = fraction * c * d
        if (np.abs(c * d - 1) < 1e-12).all():
            break
    return a * math.log(x) + b * math.log1p(-x) - np.log(a) - betaln(a, b) + np.log(fraction)


def _away_from_0(values: np.ndarray, least: float) -> np.ndarray:
    return np.where(np.abs(values) < least, least, values)


def confidence_sequence(mistakes: int, cases: int, allowed: float, level: float = 0.95) -> tuple[float, float]:
    """The ends of an interval of the mistake rate that holds after every number of cases together.

    It has the rates p at which the mixture over all rates, with the density of the limit `allowed`, is below
    1 / (1 - level): ∫ L(q) / L(p) w(q) dq (Robbins 1970).
    """
    if not cases:
        return 0.0, 1.0
    a, b = _density(allowed)
    mixture = float(betaln(a + mistakes, b + cases - mistakes) - betaln(a, b)) + math.log(1 - level)

    def is_in(rate: float) -> bool:
        return mixture - float(xlogy(mistakes, rate) + xlog1py(cases - mistakes, -rate)) < 0

    middle = mistakes / cases
    low = 0.0 if not mistakes else _edge(is_in, middle, 0.0)
    return low, 1.0 if mistakes == cases else _edge(is_in, middle, 1.0)


def _edge(is_in, inside: float, outside: float) -> float:
    """Where an interval ends between a rate that is in it and one that is not."""
    for _ in range(60):
        between = (inside + outside) / 2
        inside, outside = (between, outside) if is_in(between) else (inside, between)
    return outside


def _more(mistakes: int, cases: int, allowed: float, needed: float, answers: int) -> int | None:
    """How many more of the drawn answers would bring E to what is needed, if the rate stays; two digits, rounded up."""
    rate = mistakes / cases
    if rate <= allowed:
        return None

    def shows(more: int) -> bool:
        return bool(log_evidence(np.asarray(mistakes + rate * more), np.asarray(cases + more), allowed) >= needed)

    low, high = 0, 1
    while not shows(high):
        low, high = high, 2 * high
        if high > _MOST_ANSWERS:
            return None
    while high - low > 1:
        between = (low + high) // 2
        low, high = (low, between) if shows(between) else (between, high)
    return rounded_up(math.ceil(high * answers / cases))
