"""The statistics against planted truth: a wrong implementation of any of them fails here."""

import numpy as np
import pandas as pd
import pytest
from planted import planted_runs

from vptlib.errors import UserError
from vptlib.evidence.curves import (
    accuracies,
    crossover,
    differences,
    fit_power_law,
    learning_curves,
    paired_difference,
    trend,
)


def power_law(a, b, c=0.0, sizes=(50, 150, 400)):
    return {n: 1 - c - a * n**-b for n in sizes}


# ---- learning curves and paired differences ---------------------------------------------------------------------


def test_learning_curves_average_over_seeds_and_images():
    runs = planted_runs({"linear": {50: 0.5, 150: 0.6}, "full": {50: 0.4, 150: 0.8}}, seed_spread=0.02)
    curves = learning_curves(runs)
    assert list(curves.columns) == ["method", "n", "mean", "low", "high", "seeds"]
    expected = runs.groupby(["method", "n"])["accuracy"].mean()
    for row in curves.itertuples():
        assert row.mean == pytest.approx(expected[row.method, row.n])
        assert 0 <= row.low < row.mean < row.high <= 1
    assert set(curves["seeds"]) == {3}


def test_paired_difference_is_a_less_b_on_common_seeds_only():
    runs = planted_runs({"vpt-deep": {50: 0.7}, "full": {50: 0.6}}, seed_spread=0.02)
    runs = runs[~((runs["method"] == "full") & (runs["seed"] == 1))]
    row = paired_difference(runs).iloc[0]
    by_seed = runs[runs["seed"] != 1].groupby("method")["accuracy"].mean()
    assert row["difference"] == pytest.approx(by_seed["vpt-deep"] - by_seed["full"])
    assert row["seeds"] == 2
    turned = paired_difference(runs, "full", "vpt-deep").iloc[0]
    assert turned["difference"] == pytest.approx(-row["difference"])
    assert turned["probability_a_ahead"] == pytest.approx(1 - row["probability_a_ahead"], abs=0.02)


def test_rows_in_another_order_give_the_same_figures():
    runs = planted_runs({"vpt-deep": {50: 0.7, 150: 0.8}, "full": {50: 0.6, 150: 0.8}}, seed_spread=0.02)
    shuffled = runs.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(paired_difference(runs), paired_difference(shuffled))


def test_pairing_narrows_the_interval_where_methods_err_on_the_same_images():
    runs = planted_runs({"vpt-deep": {400: 0.8}, "full": {400: 0.8}}, seeds=1, shared=0.95)
    row = paired_difference(runs).iloc[0]
    apart = np.hypot(*(np.ptp(accuracies(runs, method).interval()[:, 0]) for method in ("vpt-deep", "full")))
    assert row["high"] - row["low"] < 0.6 * apart


@pytest.mark.parametrize("images", [100, 400])
def test_total_agreement_is_not_taken_for_certainty(images):
    runs = planted_runs({"vpt-deep": {50: 0.9}, "full": {50: 0.9}}, seeds=1, images=images)
    runs["correct"] = [np.ones(images, dtype=bool)] * 2
    difference, curve = paired_difference(runs).iloc[0], learning_curves(runs).iloc[0]
    # Never seen in N images: up to about 3 / N of them may be so (the rule of three).
    assert difference["high"] == pytest.approx(3 / images, rel=0.5)
    assert difference["low"] == pytest.approx(-3 / images, rel=0.5)
    assert 1 - curve["low"] == pytest.approx(3 / images, rel=0.5)
    assert difference["probability_a_ahead"] == pytest.approx(0.5, abs=0.03)


def coverage(seed_spread: float, seeds: int, tables: int = 200) -> tuple[float, float]:
    """How often the 95 % interval covers the true difference of 0, and how often one from test images alone would."""
    random = np.random.default_rng(0)
    covered = images_alone = 0
    for _ in range(tables):
        runs = planted_runs(
            {"vpt-deep": {100: 0.75}, "full": {100: 0.75}}, seeds, 200, seed_spread, random=random, shared=0.7
        )
        found = differences(runs, "vpt-deep", "full")
        low, high = found.interval()[:, 0]
        covered += low <= 0 <= high
        images_alone += abs(found.value[0]) <= 1.96 * np.sqrt(found.image_variance[0])
    return covered / tables, images_alone / tables


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_the_truth_where_seeds_differ(seeds):
    covered, images_alone = coverage(seed_spread=0.04, seeds=seeds)
    assert 0.90 <= covered <= 0.985
    assert images_alone < 0.80  # so leaving the seeds out would have failed


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth_where_seeds_do_not_differ(seeds):
    covered, _ = coverage(seed_spread=0.0, seeds=seeds)
    assert 0.92 <= covered <= 0.995


@pytest.mark.parametrize(("seeds", "t"), [(2, 12.706), (3, 4.303), (5, 2.776)])
def test_seeds_alone_give_students_interval(seeds, t):
    random = np.random.default_rng(0)
    hits = 0.5 + 0.02 * np.linspace(-1, 1, seeds)
    runs = planted_runs({"full": {50: 0.5}}, seeds=seeds, images=2)
    runs["correct"] = [random.permutation(np.arange(20_000) < hit * 20_000) for hit in hits]
    curve = learning_curves(runs).iloc[0]
    expected = t * hits.std(ddof=1) / np.sqrt(seeds)
    assert (curve["high"] - curve["low"]) / 2 == pytest.approx(expected, rel=0.12)


def test_sizes_are_redrawn_together():
    runs = planted_runs({"full": {50: 0.7, 400: 0.7}}, seeds=1, shared=0.95)
    assert np.corrcoef(accuracies(runs, "full").replicates)[0, 1] > 0.6


def test_the_variance_of_seeds_and_that_of_images_are_separated():
    quiet = differences(planted_runs({"vpt-deep": {50: 0.7}, "full": {50: 0.7}}, seeds=5), "vpt-deep", "full")
    noisy = differences(
        planted_runs({"vpt-deep": {50: 0.7}, "full": {50: 0.7}}, seeds=5, seed_spread=0.1), "vpt-deep", "full"
    )
    assert quiet.seed_variance[0] < quiet.image_variance[0]
    assert noisy.seed_variance[0] > 3 * noisy.image_variance[0]


# ---- power laws -------------------------------------------------------------------------------------------------


def test_a_planted_power_law_is_found_again():
    runs = planted_runs({"full": power_law(1.6, 0.4)}, images=5000, seed_spread=0.002)
    law = fit_power_law(runs, "full")
    assert law.trusted and law.c == 0
    assert law.b == pytest.approx(0.4, abs=0.05)
    assert law.a_interval[0] < 1.6 < law.a_interval[1]
    assert law.b_interval[0] < 0.4 < law.b_interval[1]
    for n in (150, 800, 2000):
        mean, low, high = law.predict(n)
        assert low < 1 - 1.6 * n**-0.4 < high
        assert low <= mean <= high
    gain, low, high = law.gain(400)
    assert low < 1.6 * (400**-0.4 - 800**-0.4) < high
    assert gain == pytest.approx(law.predict(800)[0] - law.predict(400)[0])


def test_a_floor_is_found_from_four_sizes_on_and_assumed_absent_before():
    sizes = (50, 100, 200, 400, 1000)
    truth = {"full": power_law(3.0, 0.7, 0.2, sizes)}
    law = fit_power_law(planted_runs(truth, images=10_000, seeds=1), "full")
    assert law.c == pytest.approx(0.2, abs=0.03)
    assert law.c_interval[0] < 0.2 < law.c_interval[1]
    three = planted_runs({"full": power_law(3.0, 0.7, 0.2)}, images=500)
    assert fit_power_law(three, "full").c_interval == (0.0, 0.0)


def test_predictions_cover_the_truth():
    random, covered = np.random.default_rng(1), 0
    for _ in range(60):
        runs = planted_runs({"full": power_law(1.6, 0.4)}, images=200, seed_spread=0.02, random=random)
        _, low, high = fit_power_law(runs, "full").predict(800)
        covered += low <= 1 - 1.6 * 800**-0.4 <= high
    assert covered >= 0.88 * 60


@pytest.mark.parametrize(
    ("accuracy", "code"),
    [
        ({50: 0.60, 400: 0.80}, "few_sizes"),
        ({50: 0.70, 150: 0.72, 400: 0.725}, "error_maybe_flat"),
        ({50: 0.80, 150: 0.75, 400: 0.70}, "error_rises"),
        ({50: 0.60, 150: 0.62, 400: 0.90}, "error_off_curve"),
    ],
)
def test_a_fit_gives_the_reason_not_to_trust_it(accuracy, code):
    law = fit_power_law(planted_runs({"full": accuracy}, images=1000, seeds=1, random=3), "full")
    assert not law.trusted
    assert law.caveat.code == code


def test_no_error_at_all_is_no_crash():
    runs = planted_runs({"full": {50: 0.9, 150: 0.95, 400: 0.99}}, seeds=1)
    runs["correct"] = [np.ones(400, dtype=bool)] * 3
    mean, low, high = fit_power_law(runs, "full").predict(800)
    assert 0.99 < low <= mean <= high <= 1


def test_one_size_makes_no_power_law():
    with pytest.raises(UserError, match="two sizes"):
        fit_power_law(planted_runs({"full": {50: 0.5}}), "full")


# ---- crossover --------------------------------------------------------------------------------------------------


def crossing_runs(truth_n: float, slope: float, sizes, **options):
    """VPT-deep minus full fine-tuning is slope · log(truth_n / n)."""
    vpt = {n: 0.6 + 0.05 * np.log2(n / sizes[0]) for n in sizes}
    full = {n: accuracy - slope * np.log(truth_n / n) for n, accuracy in vpt.items()}
    return planted_runs({"vpt-deep": vpt, "full": full}, **options)


def test_a_planted_crossing_is_found_and_its_interval_covers_it():
    random, verdicts, covered = np.random.default_rng(0), [], 0
    for _ in range(60):
        runs = crossing_runs(140, 0.07, (30, 100, 200, 600), seed_spread=0.01, random=random)
        found = crossover(runs)
        verdicts.append(found.verdict)
        covered += found.verdict == "crosses" and found.low <= 140 <= found.high
        assert (found.n is None) == (found.verdict != "crosses")
    assert verdicts.count("crosses") > 40
    assert set(verdicts) <= {"crosses", "open"}
    assert covered >= 0.88 * verdicts.count("crosses")


def test_a_crossing_is_interpolated_in_log_n():
    runs = crossing_runs(120, 0.15, (30, 480), images=8000, seeds=1)
    found = crossover(runs)
    assert found.verdict == "crosses"
    assert found.n == pytest.approx(120, rel=0.08)
    assert found.low < found.n < found.high
    turned = crossover(runs, "full", "vpt-deep")
    assert turned.n == pytest.approx(found.n)


def test_a_lead_at_all_sizes_is_seen_as_such():
    runs = planted_runs({"vpt-deep": power_law(1.2, 0.4), "full": power_law(1.9, 0.4)}, seed_spread=0.005)
    assert crossover(runs).verdict == "a_ahead"
    assert crossover(runs, "full", "vpt-deep").verdict == "b_ahead"
    assert crossover(runs).n is crossover(runs).low is crossover(runs).high is None


def test_noise_is_not_enough_evidence():
    random = np.random.default_rng(2)
    truth = {"vpt-deep": power_law(1.6, 0.4), "full": power_law(1.6, 0.4)}
    verdicts = [crossover(planted_runs(truth, images=200, seed_spread=0.02, random=random)).verdict for _ in range(80)]
    assert verdicts.count("open") >= 0.93 * 80


def test_a_lead_at_some_sizes_only_is_not_enough_evidence():
    runs = planted_runs({"vpt-deep": {50: 0.5, 400: 0.7}, "full": {50: 0.5, 400: 0.8}}, seeds=1, random=1)
    found = crossover(runs)
    assert found.verdict == "open"
    assert (found.note.values["b_ahead_at"], found.note.values["open_at"]) == ([400], [50])


def test_of_several_clear_changes_the_last_is_given():
    runs = planted_runs(
        {"vpt-deep": {50: 0.7, 200: 0.7, 800: 0.8}, "full": {50: 0.5, 200: 0.8, 800: 0.7}}, images=1000, seeds=1
    )
    found = crossover(runs)
    assert found.verdict == "crosses"
    assert 200 <= found.low <= found.n <= found.high <= 800
    assert found.note.values["changes"] == 2


def test_noise_about_zero_between_clear_sizes_widens_the_interval_only():
    differences_at = {25: 0.25, 50: 0.002, 100: -0.002, 200: 0.002, 400: -0.002, 800: -0.25}
    vpt = {n: 0.5 + max(d, 0) for n, d in differences_at.items()}
    full = {n: 0.5 + max(-d, 0) for n, d in differences_at.items()}
    found = crossover(planted_runs({"vpt-deep": vpt, "full": full}, images=400, seeds=1))
    assert found.verdict == "crosses"
    assert found.note.values["changes"] == 1
    assert 25 < found.low <= found.n <= found.high < 800
    assert found.low < 100 and found.high > 200


def test_the_trend_is_the_gain_per_doubling():
    runs = crossing_runs(140, 0.05, (50, 100, 200, 400), images=5000, seed_spread=0.003)
    slope, low, high = trend(runs)
    assert slope == pytest.approx(-0.05 * np.log(2), abs=0.01)
    assert low < -0.05 * np.log(2) < high
    assert trend(runs[runs["n"] == 50]) is None


# ---- tables that cannot be used ---------------------------------------------------------------------------------


def two_methods() -> pd.DataFrame:
    return planted_runs({"vpt-deep": {50: 0.7}, "full": {50: 0.6}})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda runs: runs[:0], "empty"),
        (lambda runs: runs.drop(columns="correct"), "no column 'correct'"),
        (lambda runs: runs[runs["method"] == "full"], "'vpt-deep'.*only of full"),
        (lambda runs: runs.assign(task=["a", "b"] * 3), "mixes the tasks a, b"),
        (lambda runs: pd.concat([runs, runs[:1]]), "n=50 and seed 0 twice"),
        (lambda runs: runs.assign(correct=[np.ones(5 + i % 2, bool) for i in range(6)]), "5, 6 test images"),
        (lambda runs: runs.assign(n=[50, 50, 50, 60, 60, 60]), "no size with a common seed"),
        (lambda runs: runs.assign(seed=range(6)), "no size with a common seed"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(spoil, words):
    with pytest.raises(UserError, match=words):
        paired_difference(spoil(two_methods()))
