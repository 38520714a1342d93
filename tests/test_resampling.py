"""Tables drawn again, against planted truth: coverage, caveats, and what a study could settle."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from coverage_of_intervals import GENERATORS, SEEDS, coverage
from planted import planted_runs, table_of

from vptlib.errors import UserError
from vptlib.evidence.power import images_needed, power_before, seeds_needed, smallest_difference
from vptlib.evidence.resampling import (
    accuracies,
    differences,
    joint,
    middle,
    together,
)

METHODS = ("linear", "vpt-shallow", "vpt-deep", "full")


def runs_of(methods=METHODS, sizes=(50, 400), accuracy=0.8, **options) -> pd.DataFrame:
    return planted_runs({method: dict.fromkeys(sizes, accuracy) for method in methods}, **options)


def codes(runs: pd.DataFrame) -> list[str]:
    return [caveat.code for caveat in joint(runs).caveats]


# ---- coverage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generator", "least"),
    [
        ("images in groups of ten", 0.90),
        ("tuning luck of 2 points, each seed its own", 0.90),
        ("n = 40 of a pool of 80", 0.88),
        ("n = 10, 20 and 40 of a pool of 40", 0.90),
    ],
)
def test_intervals_hold_the_truth_or_say_why_not(generator, least):
    found = coverage(GENERATORS[generator], seeds=5, tables=80)
    assert found.difference >= least and found.together >= least and found.single >= 0.90
    assert found.caveat <= 0.15


@pytest.mark.parametrize("generator", ["tuning luck of 2 points, one for all seeds", "n = 40 of a pool of 40"])
def test_where_no_interval_can_hold_there_is_always_a_caveat(generator):
    assert coverage(GENERATORS[generator], seeds=5, tables=20).caveat == 1.0


def test_without_groups_the_interval_of_grouped_images_is_too_narrow():
    """So the groups matter: the test would fail if they were not drawn as groups."""
    random, with_groups, without = np.random.default_rng(0), 0, 0
    for _ in range(60):
        accuracy = dict.fromkeys(("vpt-deep", "full"), np.full(3, 0.8))
        runs = table_of(accuracy, random=random, group=10, of_groups=0.25)
        for held, table in (("with", runs), ("without", runs.drop(columns="test_groups"))):
            low, high = differences(table, "vpt-deep", "full").interval()[:, 0]
            with_groups += (held == "with") and low <= 0 <= high
            without += (held == "without") and low <= 0 <= high
    assert with_groups >= 54 > 48 >= without


def test_the_printed_table_has_a_row_for_each_generator_and_number_of_seeds():
    page = (Path(__file__).parents[1] / "reports" / "benchmarks" / "intervals.md").read_text()
    wanted = [f"| {name} | {seeds} |" for name in GENERATORS for seeds in SEEDS]
    assert [row for row in wanted if row not in page] == []


# ---- groups -----------------------------------------------------------------------------------------------------


def test_groups_of_one_image_are_images():
    runs = runs_of(sizes=(400,))
    each = runs.assign(test_groups=[np.arange(400)] * len(runs))
    assert joint(each).groups is None
    np.testing.assert_array_equal(joint(each).replicates, joint(runs).replicates)


def test_one_group_of_all_test_images_is_said():
    runs = runs_of(sizes=(400,))
    one = runs.assign(test_groups=[np.zeros(400, int)] * len(runs))
    assert codes(one) == ["one_test_group"] and codes(runs) == []
    assert joint(one).groups is None


def test_groups_that_do_not_fit_the_test_images_are_refused():
    runs = runs_of(sizes=(400,))
    with pytest.raises(UserError, match="399 groups for 400 test images"):
        joint(runs.assign(test_groups=[np.zeros(399, int)] * len(runs)))


def test_groups_that_differ_between_runs_are_refused():
    runs = runs_of(sizes=(400,))
    with pytest.raises(UserError, match="differs between runs"):
        joint(runs.assign(test_groups=[np.arange(400) // (2 + k % 2) for k in range(len(runs))]))


def test_a_table_whose_groups_are_unknown_is_drawn_by_image():
    runs = runs_of(sizes=(400,))
    assert joint(runs.assign(test_groups=None)).groups is None


# ---- all methods together ---------------------------------------------------------------------------------------


def test_all_methods_are_compared_as_honestly_as_two():
    runs = runs_of(sizes=(400,), seeds=5, seed_spread=0.03, random=4)
    found = joint(runs)
    assert found.methods == METHODS and found.lacking == () and found.seeds == (0, 1, 2, 3, 4)
    for a, b in (("vpt-deep", "full"), ("linear", "full")):
        rows = found.replicates[found.methods.index(a)] - found.replicates[found.methods.index(b)]
        alone = differences(runs, a, b)
        assert 0.9 < np.ptp(middle(rows)) / np.ptp(alone.interval()[:, 0]) < 1.4
        at = [found.methods.index(method) for method in (a, b)]
        assert found.value[at[0]] - found.value[at[1]] == pytest.approx(alone.value[0])


def test_one_further_training_is_less_sure_than_the_mean():
    found = joint(runs_of(sizes=(400,), seeds=5, seed_spread=0.04))
    assert (np.ptp(middle(found.single), axis=0) > 1.3 * np.ptp(middle(found.replicates), axis=0)).all()


def test_the_size_is_the_largest_that_most_methods_share():
    runs = runs_of()
    fewer = runs[(runs["n"] == 50) | runs["method"].isin(["linear"])]
    assert joint(fewer).n == 50 and joint(runs).n == 400
    assert joint(fewer, 400).methods == ("linear",)
    assert joint(fewer, 400).lacking == ("vpt-shallow", "vpt-deep", "full")
    with pytest.raises(UserError, match="no run with n=77"):
        joint(runs, 77)


def test_unequal_seeds_leave_the_common_ones_and_name_the_methods_that_lack_them():
    runs = runs_of(sizes=(400,), seeds=5)
    of_linear = runs["method"] == "linear"
    found = joint(runs[~(of_linear & (runs["seed"] > 0))])
    assert found.seeds == (0, 1, 2, 3, 4) and found.lacking == ("linear",)
    found = joint(runs[~(of_linear & (runs["seed"] > 2))])
    assert found.seeds == (0, 1, 2) and found.lacking == ()


def test_the_two_compared_methods_stay_though_others_have_more_seeds():
    runs = runs_of(sizes=(400,), seeds=5)
    found = joint(runs[~((runs["method"] == "full") & (runs["seed"] != 3))])
    assert {"vpt-deep", "full"} <= set(found.methods) and found.seeds == (3,)


def test_the_best_method_is_chosen_by_looking_and_its_lead_is_corrected_for_that():
    random, wrong, naive = np.random.default_rng(1), 0, 0
    for _ in range(60):
        runs = runs_of(sizes=(400,), seeds=3, seed_spread=0.01, random=random)
        found = joint(runs)
        behind = found.behind_best()
        assert behind["method"].iloc[0] == found.methods[int(found.value.argmax())]
        wrong += (behind["low"].iloc[1:] > 0).any()
        best, worst = int(found.value.argmax()), int(found.value.argmin())
        naive += middle(found.replicates[best] - found.replicates[worst])[0] > 0
    assert wrong <= 3 < naive


def test_a_band_holds_all_its_rows_together():
    random = np.random.default_rng(0)
    rows = random.standard_normal((5, 2000))
    low, high = together(rows)
    inside = ((rows >= low[:, None]) & (rows <= high[:, None])).all(axis=0).mean()
    assert 0.94 < inside < 0.965
    alone = middle(rows)
    assert (low < alone[0]).all() and (high > alone[1]).all()
    np.testing.assert_allclose(together(rows[:1]), middle(rows[:1]), atol=0.02)


# ---- caveats ----------------------------------------------------------------------------------------------------


def test_one_seed_is_said_and_gives_intervals_of_the_images_alone():
    found = joint(runs_of(sizes=(400,), seeds=1))
    assert [caveat.code for caveat in found.caveats] == ["one_seed"]
    np.testing.assert_array_equal(found.single, found.replicates)


def test_tuning_by_one_seed_for_all_is_said_with_the_methods_of_which_it_is_true():
    runs = runs_of(sizes=(400,))
    runs["tuned_by"] = np.where(runs["method"] == "linear", runs["seed"], 0)
    (caveat,) = joint(runs).caveats
    assert caveat.code == "tuning_shared" and caveat.values["methods"] == ["vpt-shallow", "vpt-deep", "full"]
    assert codes(runs.assign(tuned_by=runs["seed"])) == []


@pytest.mark.parametrize(("pool", "said"), [(400, True), (500, True), (2000, False), (None, False)])
def test_a_pool_that_is_used_up_is_said(pool, said):
    runs = runs_of(sizes=(400,), seed_spread=0.02)
    assert codes(runs.assign(pool=pool)) == ["pool_used_up"] * said


def test_the_share_of_the_pool_widens_the_interval_and_more_seeds_do_not_narrow_that():
    runs = runs_of(sizes=(400,), seeds=8, seed_spread=0.04)
    endless, half = (differences(runs.assign(pool=pool), "vpt-deep", "full") for pool in (10**6, 800))
    assert np.ptp(half.interval()) > 2 * np.ptp(endless.interval())
    # n of 2n images: the error that all seeds share has the variance between two of them
    assert half.pool_variance[0] == pytest.approx(8 * half.seed_variance[0], rel=0.4)
    assert endless.pool_variance[0] < 0.01 * half.pool_variance[0]


def test_a_training_far_below_the_others_is_said():
    runs = table_of({"vpt-deep": [0.8] * 5, "full": [0.8, 0.8, 0.5, 0.8, 0.8]}, images=400)
    (caveat,) = joint(runs).caveats
    assert caveat.code == "seeds_skewed" and caveat.values["method"] == "full"
    assert caveat.values["lowest"] == pytest.approx(0.5, abs=0.07) and caveat.values["seeds"] == 5


@pytest.mark.parametrize(("seeds", "share"), [(3, 0.63), (5, 0.45), (10, 0.26)])
def test_how_many_trainings_may_fail_unseen_is_given(seeds, share):
    unseen = joint(runs_of(sizes=(400,), seeds=seeds)).unseen
    assert unseen.values["share"] == pytest.approx(share, abs=0.01)
    assert (1 - unseen.values["share"]) ** seeds == pytest.approx(0.05)


# ---- what a study could settle ----------------------------------------------------------------------------------


def power(true: float, images: int, seeds: int, spread: float, tables: int = 60) -> float:
    random, clear = np.random.default_rng(3), 0
    for _ in range(tables):
        of_method = {
            "vpt-deep": 0.8 + true / 2 + spread * random.standard_normal(seeds),
            "full": 0.8 - true / 2 + spread * random.standard_normal(seeds),
        }
        runs = table_of(of_method, images, random, shared=0.7)
        clear += differences(runs, "vpt-deep", "full").interval()[0, 0] > 0
    return clear / tables


@pytest.mark.parametrize(("images", "seeds", "spread"), [(400, 3, 0.02), (400, 5, 0.02), (400, 3, 0.0)])
def test_the_smallest_difference_is_told_apart_in_about_four_of_five_studies(images, seeds, spread):
    true = power_before(images, seeds, seed_spread=spread)
    assert 0.6 < power(true, images, seeds, spread) < 0.95
    assert power(true / 3, images, seeds, spread) < 0.5


def test_a_finished_study_and_its_plan_agree_on_what_it_settles():
    found = [
        smallest_difference(
            runs_of(("vpt-deep", "full"), (400,), seeds=5, seed_spread=0.02, random=k), "vpt-deep", "full"
        )
        for k in range(15)
    ]
    assert np.median(found) == pytest.approx(power_before(400, 5), rel=0.35)


def test_more_images_or_seeds_settle_smaller_differences():
    assert power_before(100, 3) > power_before(400, 3) > power_before(2000, 3) > power_before(2000, 10)
    assert power_before(400, 3, probability=0.9) > power_before(400, 3)


def test_the_images_and_seeds_that_are_needed_do_what_was_asked():
    runs = runs_of(("vpt-deep", "full"), (400,), seeds=30, seed_spread=0.05)
    seeds = seeds_needed(runs, "vpt-deep", "full", 0.02)
    assert seeds > 40
    more = runs_of(("vpt-deep", "full"), (400,), seeds=seeds, seed_spread=0.05)
    half = np.ptp(differences(more, "vpt-deep", "full").interval()) / 2
    assert half == pytest.approx(0.02, rel=0.25)
    quiet = runs_of(("vpt-deep", "full"), (400,), seeds=3)
    images = images_needed(quiet, "vpt-deep", "full", 0.01)
    many = runs_of(("vpt-deep", "full"), (400,), seeds=3, images=images)
    assert np.ptp(differences(many, "vpt-deep", "full").interval()) / 2 == pytest.approx(0.01, rel=0.35)


def test_what_images_or_seeds_alone_cannot_settle_has_no_number():
    runs = runs_of(("vpt-deep", "full"), (400,), seeds=3, seed_spread=0.05)
    assert images_needed(runs, "vpt-deep", "full", 0.005) is None
    hidden = runs.assign(pool=800)
    assert seeds_needed(hidden, "vpt-deep", "full", 0.005) is None


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan")])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(UserError, match="margin is"):
        images_needed(runs_of(), "vpt-deep", "full", margin)


@pytest.mark.parametrize("bad", [{"accuracy": 1.0}, {"shared": 1.0}, {"probability": 0}, {"images": 1}, {"seeds": 0}])
def test_a_plan_that_cannot_be_is_refused(bad):
    with pytest.raises(UserError, match=r"must lie|needs two"):
        power_before(**({"images": 400, "seeds": 3} | bad))


def test_a_difference_the_other_way_round_is_the_same_with_the_other_sign():
    runs = runs_of(images=40, seed_spread=0.03)
    one, other = differences(runs, "vpt-deep", "full"), differences(runs, "full", "vpt-deep")
    np.testing.assert_array_equal(one.value, -other.value)
    np.testing.assert_array_equal(one.replicates, -other.replicates)
    np.testing.assert_allclose(one.interval(), -other.interval()[::-1])


def test_two_groups_that_agree_exclude_what_is_far_from_both():
    runs = runs_of(sizes=(400,), images=100)
    right = np.ones(100, bool)
    right[[3, 70]] = False  # one wrong answer in each of two lots
    runs = runs.assign(correct=[right] * len(runs), test_groups=[np.arange(100) // 50] * len(runs))
    low, high = accuracies(runs, "full").interval()[:, -1]
    assert 0.5 < low < 0.95 and high > 0.97
    low, high = middle(joint(runs).replicates)
    assert (low > 0.5).all()


# ---- tables that are hard ---------------------------------------------------------------------------------------


def test_ten_test_images_give_a_wide_interval():
    found = joint(runs_of(sizes=(400,), images=10))
    assert (np.ptp(middle(found.replicates), axis=0) > 0.3).all()
    assert smallest_difference(runs_of(images=10), "vpt-deep", "full") > 0.15


def test_nan_among_the_outcomes_is_refused_with_its_run():
    runs = runs_of(sizes=(400,))
    spoilt = [correct.astype(float) for correct in runs["correct"]]
    spoilt[4][7] = np.nan
    with pytest.raises(UserError, match="vpt-shallow with n=400 and seed 1 holds NaN"):
        accuracies(runs.assign(correct=spoilt), "full")


def test_methods_that_agree_on_all_images_are_not_taken_for_certain():
    runs = runs_of(sizes=(400,), seeds=1)
    found = joint(runs.assign(correct=[np.ones(400, bool)] * len(runs)))
    ends = middle(found.replicates[0] - found.replicates[1])
    assert ends[1] == pytest.approx(3 / 400, rel=0.5) and ends[0] == pytest.approx(-3 / 400, rel=0.5)


def test_images_that_would_have_to_be_endless_are_none():
    runs = planted_runs({m: {400: 0.8} for m in ("vpt-deep", "full")}, seeds=10, images=400, seed_spread=0.03, random=3)
    wanted = {margin: images_needed(runs, "vpt-deep", "full", margin) for margin in np.geomspace(0.002, 0.2, 200)}
    assert None in wanted.values() and any(count for count in wanted.values())
    known = [count for count in wanted.values() if count]
    assert known == sorted(known, reverse=True), "a wider margin never needs more"
