"""vptlib.evidence.prices: the plan follows the planted truth, the arithmetic is right, wrong numbers are refused."""

import math

import numpy as np
import pytest
from planted import planted_runs

from vptlib.errors import UserError
from vptlib.evidence.prices import labels_needed, plan
from vptlib.statement import statement

SIZES = (50, 100, 200, 400)


def law(a: float, b: float) -> dict[int, float]:
    """Accuracies along error(n) = a · n^-b."""
    return {n: 1 - a * n**-b for n in SIZES}


@pytest.fixture(scope="module")
def level():
    """Both methods on the same curve: 78 % with 50 labels, 92 % with 400."""
    return planted_runs({"vpt-deep": law(1.56, 0.5), "full": law(1.56, 0.5)}, images=4000)


@pytest.fixture(scope="module")
def full_ahead():
    return planted_runs({"vpt-deep": law(1.56, 0.4), "full": law(1.56, 0.55)}, images=4000)


def test_what_was_measured_comes_before_what_is_forecast(level):
    found = labels_needed(level, "vpt-deep", 0.80)
    assert (found.labels, found.why.code) == (100, "measured")
    assert found.low == found.high == 100
    assert found.chance == 1


def test_a_forecast_finds_the_planted_size(level):
    found = labels_needed(level, "full", 0.95)  # 1.56 n^-0.5 = 0.05
    truth = (1.56 / 0.05) ** 2
    assert found.why.code == "forecast" and found.chance < 0.01
    assert found.low <= truth <= found.high
    assert 0.5 < found.labels / truth < 2


def test_what_is_beyond_the_horizon_is_not_promised(level):
    found = labels_needed(level, "vpt-deep", 0.999)
    assert found.labels is None and found.beyond and found.why.values == {"times": 10}
    assert plan(level, 0.999, 1, 1).step == "out_of_sight"
    assert plan(level, 0.999, 1, 1).price is None


def test_one_size_predicts_nothing():
    runs = planted_runs({"vpt-deep": {50: 0.6}, "full": {50: 0.6}})
    assert labels_needed(runs, "full", 0.9).why == statement("one_size")
    found = plan(runs, 0.9, label_price=2, tasks=3)
    assert (found.step, found.headline) == ("label_more", statement("label_more", labels=100))
    assert found.price == 2 * 3 * 50


@pytest.mark.parametrize(
    "accuracy, step",
    [(0.85, "operate"), (0.92, "pilot"), (0.95, "label_more"), (0.999, "out_of_sight")],
)
def test_the_step_follows_what_is_asked(level, accuracy, step):
    assert plan(level, accuracy, label_price=2, tasks=1, margin=0.02).step == step


def test_where_both_will_do_the_lighter_one_operates(level, full_ahead):
    assert plan(level, 0.85, 2, 1).method == "vpt-deep"
    assert plan(full_ahead, 0.80, 2, 1).method == "full"  # clearly better, and that was called to matter
    only_full = plan(full_ahead, 0.93, 2, 1)
    assert (only_full.step, only_full.method) == ("operate", "full")


def test_an_open_comparison_need_not_stop_the_work():
    """With few test images nobody can say which is better, but both are good enough."""
    runs = planted_runs({"vpt-deep": law(1.56, 0.5), "full": law(1.56, 0.5)}, images=150, seed_spread=0.01)
    found = plan(runs, 0.75, 2, 1, margin=0.001)
    assert found.advice.choice == "collect_more"
    assert (found.step, found.method) == ("operate", "vpt-deep")
    assert statement("both_will_do") in found.reasons


def test_the_bill_is_labels_times_tasks_times_price(level):
    found = plan(level, 0.95, label_price=2.5, tasks=8)
    more = found.needs[found.method].labels - 400
    assert found.further_labels == 8 * more > 0
    assert found.price == pytest.approx(2.5 * 8 * more)
    assert statement("bill", labels=found.further_labels, tasks=8, label_price=2.5) in found.reasons
    assert plan(level, 0.85, 2.5, 8).price == 0


def test_storage_is_given_for_all_tasks(level):
    stored = plan(level, 0.85, 1, 100).reasons[-1]
    assert stored == statement("stored", prompt_bytes=13_000_000, full_bytes=5_120_000_000)


def test_fewer_test_images_make_it_less_certain():
    truth = {"vpt-deep": law(1.56, 0.5), "full": law(1.56, 0.5)}
    few, many = (planted_runs(truth, images=images, random=1) for images in (60, 4000))
    wide, narrow = (labels_needed(runs, "full", 0.95) for runs in (few, many))
    assert wide.high - wide.low > narrow.high - narrow.low or math.isinf(wide.high)


@pytest.mark.parametrize(
    "values", [(0, 1, 1), (1, 1, 1), (0.9, -1, 1), (0.9, np.inf, 1), (0.9, np.nan, 1), (0.9, 1, 0)]
)
def test_a_number_out_of_range_is_named(level, values):
    with pytest.raises(UserError, match=r"(accuracy|label_price|tasks) is .*, but must"):
        plan(level, *values)
