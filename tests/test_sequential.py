"""Limits on checked answers: evidence that is valid at every look, its closed form, and what is said of it."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import xlogy
from scipy.stats import beta, binom

from vptlib.errors import UserError
from vptlib.evidence.limits import read_limits
from vptlib.evidence.sequential import (
    BROKEN,
    HOLDS,
    NO_CASES,
    NO_GROUPS,
    OPEN,
    confidence_sequence,
    log_evidence,
    not_drawn,
    watch_limits,
)

CLASSES = ("good", "scratch", "pit")
ACCURACY = {"accuracy": {"at_least": 0.9}}
MISSES = {"miss_rate": {"class": "scratch", "at_most": 0.1}}


def answered(wrong, truth=None):
    """True classes and answers, of which those marked `wrong` are another class."""
    truth = np.arange(len(wrong)) % 3 if truth is None else np.asarray(truth)
    return truth, np.where(wrong, (truth + 2) % 3, truth)


def watched(wrong, limits, truth=None, drawn=None, **more):
    truth, answer = answered(np.asarray(wrong, dtype=bool), truth)
    drawn = np.ones(len(truth), dtype=bool) if drawn is None else drawn
    return watch_limits(truth, answer, drawn, CLASSES, read_limits(limits), **more)


# ---- the bet ------------------------------------------------------------------------------------------------------


def log_integrated(mistakes, cases, allowed):
    """log E by numerical integration over the mistake rates above what is allowed."""
    a, b = max(0.5, 10 * allowed), max(0.5, 10 * (1 - allowed))
    best = max(allowed, mistakes / cases if cases else allowed)

    def bet(rate):
        return xlogy(mistakes, rate / allowed) + xlogy(cases - mistakes, (1 - rate) / (1 - allowed))

    ends = sorted({allowed, *np.clip(best + np.array([-0.1, -0.02, 0, 0.02, 0.1]), allowed, 1), 1})
    parts = [
        quad(lambda rate: np.exp(bet(rate) - bet(best)) * beta.pdf(rate, a, b), *pair, limit=500)[0]
        for pair in pairwise(ends)
    ]
    return math.log(sum(parts) / beta.sf(allowed, a, b)) + bet(best)


@settings(deadline=None, max_examples=60)
@given(cases=st.integers(0, 300), share=st.floats(0, 1), allowed=st.sampled_from([0.005, 0.02, 0.1, 0.5, 0.9]))
def test_the_closed_form_is_the_integral(cases, share, allowed):
    mistakes = round(share * cases)
    assert log_evidence(mistakes, cases, allowed) == pytest.approx(log_integrated(mistakes, cases, allowed), abs=1e-4)


@pytest.mark.parametrize("allowed", [0.02, 0.1, 0.7])
@pytest.mark.parametrize("cases", [1, 7, 40])
def test_the_bet_is_fair_at_the_limit_and_loses_below_it(cases, allowed):
    mistakes = np.arange(cases + 1)
    bets = np.exp(log_evidence(mistakes, cases, allowed))
    assert (bets * binom.pmf(mistakes, cases, allowed)).sum() == pytest.approx(1, abs=1e-9)
    assert (bets * binom.pmf(mistakes, cases, allowed / 2)).sum() < 1
    assert (bets * binom.pmf(mistakes, cases, (1 + allowed) / 2)).sum() > 1


@pytest.mark.parametrize("allowed", [0.001, 0.02, 0.5, 0.95])
def test_a_million_answers_of_any_rate_give_a_finite_number_that_rises_with_the_mistakes(allowed):
    mistakes = np.linspace(0, 10**6, 101).round()
    found = log_evidence(mistakes, 10**6, allowed)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    assert found[0] < 0 < found[-1]


def test_far_below_the_limit_the_bet_is_its_density_at_the_limit_over_the_slope():
    found = log_evidence(100, 100_000, 0.5)  # where the incomplete beta function is no number of a machine
    slope = 99_900 / 0.5 - 100 / 0.5
    assert found == pytest.approx(math.log(beta.pdf(0.5, 5, 5) / 0.5 / slope), abs=1e-3)


def test_limits_that_allow_nothing_or_everything():
    none, one = log_evidence(np.array([0, 1]), np.array([9, 9]), 0.0)
    assert none < 0
    assert one == math.inf
    assert log_evidence(np.array([0, 9]), np.array([9, 9]), 1.0).tolist() == [0, 0]
    (strict,) = watched([0] * 5 + [1], {"accuracy": {"at_least": 1.0}})
    assert (strict.verdict, strict.broken_at) == (BROKEN, 5)
    (none,) = watched([1] * 50, {"accuracy": {"at_least": 0.0}})
    assert (none.verdict, none.broken, none.most) == (HOLDS, False, 0)


# ---- how often it is wrong ----------------------------------------------------------------------------------------


def ever_broken(rate, allowed, times=2000, cases=600, alpha=0.05, seed=0):
    """The share of streams in which a look after each case finds the limit broken."""
    wrong = np.random.default_rng(seed).random((times, cases)) < rate
    seen, number = np.unique(wrong.cumsum(axis=1) * (cases + 1) + np.arange(1, cases + 1), return_inverse=True)
    bets = log_evidence(*np.divmod(seen, cases + 1), allowed)[number].reshape(times, cases)
    return float((bets.max(axis=1) >= -math.log(alpha)).mean())


@pytest.mark.parametrize("allowed", [0.02, 0.1, 0.5])
def test_a_limit_that_just_holds_is_hardly_ever_found_broken_although_somebody_looks_after_each_answer(allowed):
    error = 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert ever_broken(allowed, allowed) <= 0.05 + error
    assert ever_broken(allowed / 2, allowed) <= 0.01


@pytest.mark.parametrize(("allowed", "rate"), [(0.02, 0.06), (0.1, 0.2), (0.5, 0.6)])
def test_a_rate_that_is_clearly_worse_is_found(allowed, rate):
    assert ever_broken(rate, allowed, times=300) > 0.95


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_interval_holds_at_all_times_together(rate):
    wrong = np.random.default_rng(1).random((60, 300)) < rate
    missed = 0
    for stream in wrong.cumsum(axis=1):
        ends = [confidence_sequence(int(stream[n - 1]), n, 0.02) for n in range(5, 301, 10)]
        missed += any(not low <= rate <= high for low, high in ends)
    assert missed <= 60 * 0.05 + 3 * math.sqrt(60 * 0.05 * 0.95)


@settings(deadline=None, max_examples=40)
@given(cases=st.integers(1, 2000), share=st.floats(0, 1), allowed=st.floats(0, 1))
def test_the_interval_is_around_the_rate_and_within_0_and_1(cases, share, allowed):
    mistakes = round(share * cases)
    low, high = confidence_sequence(mistakes, cases, allowed)
    assert 0 <= low <= mistakes / cases <= high <= 1
    assert high - low < 1 or cases < 6


# ---- what counts --------------------------------------------------------------------------------------------------


def test_the_hits_and_cases_of_each_kind_of_limit():
    truth = np.array([1, 1, 1, 0, 0, 2, 2, 0])
    answer = np.array([1, 0, 2, 0, 1, 2, 1, 0])
    limits = {
        "accuracy": {"at_least": 0.5},
        "miss_rate": [{"class": "scratch", "at_most": 0.5}, {"class": ["scratch", "pit"], "at_most": 0.5}],
        "false_alarm_rate": {"class": ["scratch", "pit"], "at_most": 0.5},
        "recall": {"class": "scratch", "at_least": 0.5},
        "precision": {"class": "scratch", "at_least": 0.5},
    }
    found = watch_limits(truth, answer, np.ones(8, bool), CLASSES, read_limits(limits))
    counts = [(one.hits, one.cases) for one in found]
    assert counts == [(4, 8), (2, 3), (1, 5), (1, 3), (1, 3), (1, 3)]
    assert all(one.low <= one.rate <= one.high for one in found)


def test_a_limit_for_a_class_that_the_task_does_not_have_is_left_out():
    assert watched([0], {"miss_rate": {"class": "dent", "at_most": 0.1}}) == []


def test_only_answers_that_were_drawn_at_random_count_and_the_others_are_named():
    wrong = np.array([1] * 40 + [0] * 100)
    drawn = np.array([False] * 40 + [True] * 100)
    (found,) = watched(wrong, ACCURACY, drawn=drawn)
    assert (found.hits, found.cases, found.verdict) == (100, 100, HOLDS)
    (all_of_them,) = watched(wrong, ACCURACY)
    assert all_of_them.verdict == BROKEN
    (said,) = not_drawn(drawn)
    assert (said.code, said.values) == ("watch_not_drawn", {"answers": 40, "of": 140})
    assert not_drawn(np.ones(3, bool)) == []


def test_broken_at_is_the_number_among_all_checked_answers():
    drawn = np.array([False] * 10 + [True] * 30)
    (found,) = watched([1] * 40, ACCURACY, drawn=drawn)
    (alone,) = watched([1] * 30, ACCURACY)
    assert found.broken_at == alone.broken_at + 10


def test_once_broken_a_limit_stays_broken_although_later_answers_are_good():
    (found,) = watched([1] * 12 + [0] * 3000, ACCURACY)
    assert found.broken
    assert found.broken_at < 12
    assert found.evidence < 0 < found.needed_evidence < found.most
    assert found.most_at == 11
    assert found.finding().code == "watch_broken"
    assert found.finding().values["after"] == found.broken_at + 1


def test_several_limits_share_the_errors_that_are_allowed():
    alone, (together, _) = watched([1] * 3, ACCURACY)[0], watched([1] * 3, ACCURACY | MISSES)
    assert 10**alone.needed_evidence == pytest.approx(20)
    assert 10**together.needed_evidence == pytest.approx(40)


def test_a_limit_in_every_group_is_watched_in_each_and_only_where_groups_are_known():
    limit = {"accuracy": {"at_least": 0.9, "every": "group"}}
    groups = np.array(["b"] * 60 + ["a"] * 60)
    found = watched([0] * 60 + [1] * 30 + [0] * 30, limit, groups=groups)
    assert [(one.group, one.cases, one.verdict) for one in found] == [("b", 60, HOLDS), ("a", 60, BROKEN)]
    assert [10**one.needed_evidence for one in found] == pytest.approx([40, 120])
    (unknown,) = watched([1] * 120, limit)
    assert (unknown.verdict, unknown.broken, unknown.finding().code) == (NO_GROUPS, False, "watch_without_groups")


def test_without_answers_nothing_is_claimed():
    empty = np.zeros(0, int)
    (found,) = watch_limits(empty, empty, np.zeros(0, bool), CLASSES, read_limits(ACCURACY))
    assert (found.verdict, found.cases, found.low, found.high, found.most) == (NO_CASES, 0, 0, 1, 0)
    assert found.finding().code == "watch_no_cases"
    (no_scratch,) = watched([0] * 20, MISSES, truth=np.zeros(20, int))
    assert no_scratch.verdict == NO_CASES


def test_the_number_that_is_still_needed_is_about_right():
    wrong = np.arange(40) % 5 == 0
    (found,) = watched(wrong, ACCURACY)
    assert found.verdict == OPEN
    longer = np.arange(40 + found.needed) % 5 == 0
    assert watched(longer, ACCURACY)[0].broken
    assert not watched(longer[: 40 + found.needed // 2], ACCURACY)[0].broken


def test_the_number_that_is_needed_counts_all_checked_answers_and_is_none_where_the_rate_keeps_the_limit():
    truth = np.arange(120) % 3
    wrong = (truth == 1) & (np.arange(120) % 15 < 3)  # of every class a fifth would be wrong
    (few,) = watched(wrong[:60], MISSES, truth=truth[:60])
    assert few.needed % 10 == 0
    assert few.needed > 3 * 10
    (good,) = watched(np.zeros(60), MISSES, truth=truth[:60])
    assert good.needed is None


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="drawn has 1 entries"):
        watched([0, 1], ACCURACY, drawn=np.ones(1, bool))
    with pytest.raises(UserError, match="3 have a name"):
        watch_limits(np.array([3]), np.array([0]), np.ones(1, bool), CLASSES, read_limits(ACCURACY))
