"""Recommendations on tables whose right answer is known."""

import json

import numpy as np
import pytest
from planted import SIZES_OF_METHODS, planted_runs

from vptlib.errors import UserError
from vptlib.evidence.curves import learning_curves, paired_difference
from vptlib.evidence.decision import Recommendation, advice_so_far, costs, recommend, summarise
from vptlib.statement import Statement

SIZES = (50, 150, 400)


def table(vpt: float, full: float, linear: float | None = None, **options):
    """Accuracies at the largest size; 8 points less for each step down in size, for all methods."""
    last = {"linear": linear, "vpt-deep": vpt, "full": full}
    truth = {
        method: {n: accuracy - 0.08 * step for step, n in enumerate(reversed(SIZES))}
        for method, accuracy in last.items()
        if accuracy is not None
    }
    return planted_runs(truth, **options)


def codes(advice: Recommendation) -> set[str]:
    return {reason.code for reason in advice.reasons}


QUIET = {"images": 1500, "shared": 0.95, "seed_spread": 0.001}


@pytest.mark.parametrize(
    ("vpt", "full", "choice"),
    [
        (0.80, 0.80, "no_difference"),
        (0.88, 0.80, "prompt"),
        (0.80, 0.88, "fine_tune"),
    ],
)
def test_clear_cases(vpt, full, choice):
    advice = recommend(table(vpt, full, **QUIET), margin=0.03)
    assert advice.choice == choice
    assert advice.confidence == "high"
    assert advice.probability > 0.95
    assert advice.seeds == 3


def test_a_wide_interval_asks_for_more_data():
    advice = recommend(table(0.80, 0.80, images=100, shared=0.3, seed_spread=0.02), margin=0.01)
    assert advice.choice == "collect_more"
    assert advice.low < -0.01 and advice.high > 0.01
    assert {"more_test_images", "more_seeds"} & codes(advice)


def test_prompts_need_not_win_but_fine_tuning_must():
    runs = table(0.81, 0.80, **QUIET)
    row = paired_difference(runs).iloc[-1]
    margin = (row["high"] + max(0, -row["low"])) / 2  # reaches beyond the margin on the side of prompts alone
    assert recommend(runs, margin).choice == "prompt"
    swapped = runs.assign(method=runs["method"].map({"vpt-deep": "full", "full": "vpt-deep"}))
    low = -paired_difference(swapped).iloc[-1]["low"]
    assert recommend(swapped, 0.95 * low).choice == "collect_more"
    assert recommend(swapped, 1.05 * low).choice == "no_difference"


# ---- a study that had too little time ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "lacking", "n", "best"),
    [
        ({"linear": {400: 0.9}, "vpt-deep": {400: 0.7}}, ["full"], 400, "linear"),
        ({"linear": {100: 0.9, 400: 0.6}, "full": {400: 0.7}}, ["vpt-deep"], 400, "full"),
        ({"linear": {400: 0.9}}, ["vpt-deep", "full"], 400, "linear"),
        ({"vpt-deep": {400: 0.7}, "full": {100: 0.9}}, ["full"], 400, "vpt-deep"),
    ],
)
def test_without_runs_of_both_there_is_no_answer_but_what_there_is(truth, lacking, n, best):
    runs = planted_runs(truth, images=2000)
    advice = advice_so_far(runs)
    assert (advice.choice, advice.confidence, advice.n, advice.decide_again_at) == ("no_answer", "low", n, None)
    missing, so_far = advice.reasons
    assert (missing.code, missing.values["lacking"], missing.values["n"]) == ("not_compared_yet", lacking, n)
    assert (so_far.code, so_far.values["method"]) == ("best_so_far", best)
    assert so_far.values["low"] < truth[best][n] < so_far.values["high"]
    found = json.loads(json.dumps(summarise(runs), allow_nan=False))
    assert found["recommendation"]["choice_code"] == "no_answer" and found["crossover"] is None
    assert len(found["curves"]) == sum(map(len, truth.values()))
    with pytest.raises(UserError):
        recommend(runs)


def test_runs_of_both_without_a_common_seed_are_no_answer():
    runs = planted_runs({"vpt-deep": {400: 0.7}, "full": {400: 0.7}})
    apart = runs[(runs["method"] == "full") == (runs["seed"] == 0)]
    assert advice_so_far(apart).choice == "no_answer"
    assert advice_so_far(apart).reasons[0].values["lacking"] == []


def test_where_both_are_comparable_at_a_smaller_size_that_is_the_answer():
    runs = planted_runs({"vpt-deep": {100: 0.9, 400: 0.9}, "full": {100: 0.6}})
    assert advice_so_far(runs, 0.02) == recommend(runs, 0.02)
    assert (advice_so_far(runs).choice, advice_so_far(runs).n) == ("prompt", 100)


def test_the_margin_decides_what_matters():
    runs = table(0.80, 0.83, **QUIET)
    assert recommend(runs, margin=0.01).choice == "fine_tune"
    assert recommend(runs, margin=0.06).choice == "no_difference"


@pytest.mark.parametrize(("vpt", "full"), [(0.60, 0.90), (0.90, 0.60), (0.80, 0.80)])
def test_one_seed_is_a_quick_look_with_low_confidence(vpt, full):
    advice = recommend(table(vpt, full, seeds=1, images=2000, shared=0.95), margin=0.03)
    assert advice.confidence == "low"
    assert "quick_look" in codes(advice)


def test_one_open_seed_asks_for_seeds_before_labels():
    advice = recommend(table(0.80, 0.80, seeds=1, images=100, shared=0.3))
    assert advice.choice == "collect_more"
    assert "seeds_before_labels" in codes(advice)


def test_confidence_falls_as_the_lead_nears_the_margin():
    levels = [recommend(table(0.80, 0.80 + lead, **QUIET), margin=0.02).confidence for lead in (0.08, 0.0225)]
    assert levels[0] == "high"
    assert levels[1] in ("low", "medium")


def test_the_figures_in_the_reasons_are_those_of_the_table():
    runs = table(0.78, 0.85, 0.70, **QUIET)
    curves = learning_curves(runs).set_index(["method", "n"])
    row = paired_difference(runs).iloc[-1]
    seen = recommend(runs).reasons[0].values
    assert seen["prompt"] == curves.loc[("vpt-deep", 400), "mean"]
    assert seen["full"] == curves.loc[("full", 400), "mean"]
    assert [seen[name] for name in ("difference", "low", "high")] == pytest.approx(
        [row[name] for name in ("difference", "low", "high")]
    )


@pytest.mark.parametrize(
    ("linear", "code"),
    [(0.80, "linear_not_worse"), (0.84, "linear_not_worse"), (0.70, "linear_worse")],
)
def test_the_linear_probe_is_compared_with_the_best(linear, code):
    assert code in codes(recommend(table(0.80, 0.80, linear, **QUIET), margin=0.03))


def test_without_a_linear_probe_nothing_is_said_about_it():
    assert not any(code.startswith("linear") for code in codes(recommend(table(0.80, 0.80, **QUIET))))


def law(a, b, sizes=SIZES):
    return {n: 1 - a * n**-b for n in sizes}


def test_decide_again_where_the_curves_are_predicted_to_cross():
    # 0.55 · n^-0.1 = 4.235 · n^-0.4 at n = 7.7^(1 / 0.3) = 902
    runs = planted_runs({"vpt-deep": law(0.55, 0.1), "full": law(4.235, 0.4)}, images=8000, seeds=1)
    advice = recommend(runs)
    assert advice.choice == "prompt"
    assert advice.decide_again_at == pytest.approx(902, rel=0.15)
    assert [r.values["leader"] for r in advice.reasons if r.code == "lead_will_change"] == ["full"]


def test_decide_again_at_twice_the_size_where_no_crossing_is_in_reach():
    assert recommend(planted_runs({"vpt-deep": law(0.9, 0.3), "full": law(1.2, 0.3)})).decide_again_at == 800
    assert recommend(planted_runs({"vpt-deep": {50: 0.6}, "full": {50: 0.6}})).decide_again_at == 100


def test_what_more_labels_buy_is_stated_or_why_it_cannot_be():
    good = planted_runs({"vpt-deep": law(0.9, 0.3), "full": law(1.2, 0.3)}, images=2000)
    assert [r.values["n"] for r in recommend(good).reasons if r.code == "more_labels_buy"] == [800]
    flat = {n: 0.7 for n in SIZES}
    assert "more_labels_unknown" in codes(recommend(planted_runs({"vpt-deep": flat, "full": flat})))


def test_costs_are_those_of_the_runs():
    runs = table(0.80, 0.86, 0.70)
    found = costs(runs).set_index("method")
    assert found["bytes_per_task"].to_dict() == {m: SIZES_OF_METHODS[m] for m in ("linear", "vpt-deep", "full")}
    full = runs[(runs["method"] == "full") & (runs["n"] == 400)]
    assert found.loc["full", "train_seconds"] == full["train_seconds"].median()
    assert found.loc["full", "tuning_seconds"] == full["tuning_seconds"].max()
    assert found.loc["full", "time_ratio"] == found.loc["full", "storage_ratio"] == 1
    assert found.loc["vpt-deep", "storage_ratio"] == SIZES_OF_METHODS["vpt-deep"] / SIZES_OF_METHODS["full"]
    alone = costs(runs[runs["method"] == "linear"])
    assert np.isnan(alone["time_ratio"].iloc[0])


def test_the_summary_is_plain_json_that_follows_the_contract():
    runs = table(0.80, 0.86, 0.70)
    summary = json.loads(json.dumps(summarise(runs, margin=0.01), allow_nan=False))
    assert summary["task"] == "planted"
    assert summary["methods"] == ["linear", "vpt-deep", "full"]
    assert summary["runs"] == len(runs)
    assert len(summary["curves"]) == 9
    assert set(summary["curves"][0]) == {"method", "n", "mean", "low", "high", "seeds"}
    assert summary["crossover"] is None
    assert set(summary["recommendation"]) == {"choice_code", "confidence", "reason_codes", "decide_again_at"}
    assert summary["recommendation"]["choice_code"] == recommend(runs).choice
    assert [Statement.of(reason) for reason in summary["recommendation"]["reason_codes"]] == recommend(runs).reasons
    assert summary["cost"]["vpt-deep"]["bytes_per_task"] == SIZES_OF_METHODS["vpt-deep"]


def test_a_crossing_is_in_the_summary():
    runs = planted_runs({"vpt-deep": {50: 0.8, 800: 0.8}, "full": {50: 0.6, 800: 0.9}}, images=1000)
    crossing = summarise(runs)["crossover"]
    assert set(crossing) == {"n", "low", "high"}
    assert 50 < crossing["low"] < crossing["n"] < crossing["high"] < 800
    assert "lead_changes" in codes(recommend(runs))


@pytest.mark.parametrize("missing", ["vpt-deep", "full"])
def test_without_one_of_the_two_there_is_no_recommendation(missing):
    runs = table(0.80, 0.80, 0.70)
    with pytest.raises(UserError, match=missing):
        recommend(runs[runs["method"] != missing])


@pytest.mark.parametrize("margin", [0, -0.01, 1, 5])
def test_a_margin_that_is_no_fraction_is_refused(margin):
    with pytest.raises(UserError, match="margin"):
        recommend(table(0.80, 0.80), margin)


def test_costs_need_their_columns():
    with pytest.raises(UserError, match="bytes_per_task"):
        costs(table(0.80, 0.80).drop(columns="bytes_per_task"))
