"""Recommendations on tables whose right answer is known."""

import json
import math

import numpy as np
import pytest
from planted import SIZES_OF_METHODS, planted_runs

from vptlib.errors import UserError
from vptlib.evidence.audit import WARNING, AuditFinding
from vptlib.evidence.contest import Contest
from vptlib.evidence.costs import costs, seconds_of_a_seed
from vptlib.evidence.decision import advice_so_far, recommend, summarise
from vptlib.evidence.limits import read_limits
from vptlib.evidence.power import uncertainty_left
from vptlib.evidence.recommendation import STEPS, Recommendation, use_code
from vptlib.evidence.resampling import joint
from vptlib.report.words import en
from vptlib.statement import Statement, statement

SIZES = (50, 150, 400)


def table(vpt: float, full: float, linear: float | None = None, shallow: float | None = None, **options):
    """Accuracies at the largest size; 8 points less for each step down in size, for all methods."""
    last = {"linear": linear, "vpt-shallow": shallow, "vpt-deep": vpt, "full": full}
    truth = {
        method: {n: accuracy - 0.08 * step for step, n in enumerate(reversed(SIZES))}
        for method, accuracy in last.items()
        if accuracy is not None
    }
    return planted_runs(truth, **options)


def flat(accuracy: float, methods=("linear", "vpt-deep", "full"), **options):
    return planted_runs({method: dict.fromkeys(SIZES, accuracy) for method in methods}, **options)


def codes(advice: Recommendation) -> list[str]:
    return [reason.code for reason in advice.reasons]


QUIET = {"images": 1500, "shared": 0.95, "seed_spread": 0.001}


# ---- which method -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vpt", "full", "linear", "choice"),
    [
        (0.80, 0.80, None, "use_prompt"),  # the lighter of two equal ones
        (0.88, 0.80, None, "use_prompt"),
        (0.80, 0.88, None, "fine_tune"),
        (0.80, 0.80, 0.80, "use_linear"),
        (0.80, 0.80, 0.87, "use_linear"),  # ahead of both: the advice is not between the two losers
        (0.88, 0.80, 0.80, "use_prompt"),
        (0.80, 0.90, 0.70, "fine_tune"),
    ],
)
def test_the_lightest_within_the_margin_of_the_best_is_used(vpt, full, linear, choice):
    advice = recommend(table(vpt, full, linear, **QUIET), margin=0.03)
    assert (advice.choice, advice.confidence) == (choice, "high")
    assert use_code(advice.method) == choice and advice.probability > 0.95
    assert (advice.n, advice.seeds, advice.images) == (400, 3, 1500)


@pytest.mark.parametrize("random", range(10))
def test_high_confidence_is_never_said_where_a_printed_interval_leaves_another_method_right(random):
    advice = recommend(table(0.80, 0.83, 0.78, images=800, seed_spread=0.006, random=random), margin=0.01)
    pairs = advice.reasons[1].values
    if advice.confidence == "high":
        assert pairs["heavier"] is None or pairs["heavier"]["low"] >= -0.01
        assert pairs["lighter"] is None or pairs["lighter"]["low"] >= 0.01
    left = advice.reasons[2].values.get("left")
    assert left is None or (advice.confidence == "medium" and advice.probability >= 0.95)


def test_every_method_is_a_candidate():
    advice = recommend(table(0.80, 0.80, 0.80, shallow=0.88, **QUIET), margin=0.03)
    assert (advice.choice, advice.method, advice.confidence) == ("use_vpt_shallow", "vpt-shallow", "high")
    assert list(advice.candidates) == ["linear", "vpt-shallow", "vpt-deep", "full"], "the lightest first"
    assert advice.reasons[0].values["methods"][0] == "vpt-shallow"


def test_the_margin_decides_what_matters():
    runs = table(0.80, 0.83, **QUIET)
    assert recommend(runs, margin=0.01).choice == "fine_tune"
    assert recommend(runs, margin=0.06).choice == "use_prompt"


def test_probabilities_and_losses_of_the_candidates_fit_together():
    found = recommend(table(0.80, 0.82, 0.79, images=400, seed_spread=0.01), margin=0.01).candidates
    assert sum(candidate.right for candidate in found.values()) == pytest.approx(1)
    for candidate in found.values():
        assert candidate.right <= candidate.near_best <= 1 and candidate.expected_loss >= 0
        assert candidate.low <= candidate.accuracy <= candidate.high
    assert found["linear"].right == found["linear"].near_best, "for the lightest, near is right"


def test_a_heavier_method_loses_the_margin_where_a_lighter_one_would_do():
    found = recommend(table(0.80, 0.80, **QUIET), margin=0.05).candidates
    assert found["full"].expected_loss == pytest.approx(0.05, abs=1e-3)
    assert found["vpt-deep"].expected_loss == pytest.approx(0, abs=1e-3)


def test_costs_that_are_known_take_the_place_of_the_margin():
    runs = table(0.80, 0.84, **QUIET)
    assert recommend(runs, 0.01).choice == "fine_tune"
    assert recommend(runs, 0.01, handicaps={"vpt-deep": 0.0, "full": 0.10}).choice == "use_prompt"
    assert recommend(runs, 0.06, handicaps={"vpt-deep": 0.0, "full": 0.0}).choice == "fine_tune"


# ---- does anything work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10])
def test_where_all_methods_guess_nothing_works_and_no_labels_are_bought(classes):
    advice = recommend(flat(1 / classes, images=3000), chance=1 / classes)
    assert (advice.choice, advice.confidence) == ("nothing_works", "high")
    assert advice.method is None and advice.decide_again_at is None
    assert codes(advice)[1] == "at_chance"


def test_with_few_images_a_class_guessing_asks_for_labels_first():
    runs = planted_runs({m: {20: 0.1} for m in ("vpt-deep", "full")}, images=500)
    truth = np.arange(500) % 10
    few = recommend(runs.assign(truth=[truth] * len(runs)), chance=0.1)
    assert (few.choice, few.method, codes(few)[2]) == ("more_labels", None, "none_leads")
    assert recommend(runs, chance=0.1).choice == "nothing_works", "the classes are not known"


def test_few_test_images_cannot_show_that_nothing_works():
    advice = recommend(flat(0.6, images=12, random=3), chance=0.5)
    assert advice.choice == "more_test_images"


@pytest.mark.parametrize("seeds, reason", [(2, "quick_look"), (3, "at_chance")])
def test_trainings_too_different_to_beat_guessing_ask_for_seeds_and_not_for_images(seeds, reason):
    truth = {method: {400: 0.75} for method in ("vpt-deep", "full")}
    advice = recommend(planted_runs(truth, seeds=seeds, images=5000, seed_spread=0.12, random=1), chance=0.6)
    assert (advice.choice, codes(advice)[1]) == ("more_seeds", reason)


@pytest.mark.parametrize("seeds, told", [(1, False), (2, False), (3, True)])
def test_a_quick_look_does_not_say_what_it_tells_apart(seeds, told):
    advice = recommend(table(0.8, 0.82, seeds=seeds))
    assert ("settles" in codes(advice)) is told and math.isfinite(advice.settles) is told


def test_one_method_that_beats_guessing_is_enough():
    runs = planted_runs({"linear": {400: 0.8}, "vpt-deep": {400: 0.5}, "full": {400: 0.5}}, images=1000)
    assert recommend(runs, chance=0.5).choice == "use_linear"


# ---- is it good enough ------------------------------------------------------------------------------------------


def test_the_lightest_that_surely_reaches_what_is_needed_is_used_even_if_a_heavier_one_is_better():
    runs = table(0.90, 0.95, 0.70, **QUIET)
    advice = recommend(runs, 0.01, needed=0.8)
    assert (advice.choice, advice.confidence) == ("fine_tune", "high")  # it is better by more than the margin
    assert recommend(runs, 0.06, needed=0.8).choice == "use_prompt"
    assert recommend(runs, 0.30, needed=0.8).choice == "use_prompt", "the linear probe does not reach it"


def test_the_mean_of_several_trainings_is_not_the_model_that_will_run():
    truth = {m: {200: 0.78, 400: 0.81} for m in ("vpt-deep", "full")}
    advice = recommend(planted_runs(truth, images=4000, seed_spread=0.03, seeds=5), needed=0.79)
    mean_reaches = np.mean([c.accuracy for c in advice.candidates.values()]) > 0.79
    assert mean_reaches and advice.confidence != "high"


def test_what_is_not_reached_on_a_rising_curve_asks_for_labels_and_on_a_flat_one_does_not():
    rising = recommend(table(0.80, 0.80, **QUIET), needed=0.9)
    assert rising.choice == "more_labels" and rising.decide_again_at == 800
    level = recommend(flat(0.80, **QUIET), needed=0.9)
    assert (level.choice, level.confidence) == ("nothing_works", "high")


def test_one_size_says_nothing_of_what_labels_bring():
    assert recommend(planted_runs({m: {50: 0.6} for m in ("vpt-deep", "full")}), needed=0.9).choice == "more_labels"


def test_the_present_way_of_working_is_a_bar_too():
    assert recommend(flat(0.80, **QUIET), today=0.9).choice == "nothing_works"
    assert recommend(flat(0.80, **QUIET), margin=0.03, today=0.7).choice == "use_linear"


def of_classes(runs, missed):
    """The table with two classes, the second a defect; each method misses the given share of the defects."""
    truth = np.arange(len(runs["correct"].iloc[0])) % 2
    rows = []
    for method in runs["method"]:
        predictions = truth.copy()
        defects = np.flatnonzero(truth)
        predictions[defects[: round(missed[method] * len(defects))]] = 0
        rows.append(predictions)
    right = [predictions == truth for predictions in rows]
    return runs.assign(predictions=rows, correct=right, accuracy=np.mean(right, axis=1), truth=[truth] * len(runs))


NO_MISSES = read_limits({"miss_rate": {"class": "scratch", "at_most": 0.05}})


@pytest.mark.parametrize(
    ("missed", "images", "choice"),
    [
        ({"vpt-deep": 0.01, "full": 0.0}, 1000, "use_prompt"),
        ({"vpt-deep": 0.12, "full": 0.0}, 1000, "fine_tune"),  # prompts are near enough, but miss too many
        ({"vpt-deep": 0.12, "full": 0.10}, 1000, "nothing_works"),
        ({"vpt-deep": 0.0, "full": 0.0}, 40, "more_test_images"),  # too few defects to show it
    ],
)
def test_a_method_that_is_not_shown_to_keep_the_limits_is_not_used(missed, images, choice):
    runs = of_classes(planted_runs({m: {200: 0.9, 400: 0.9} for m in missed}, images=images), missed)
    advice = recommend(runs, margin=0.08, limits=NO_MISSES, class_names=("fine", "scratch"))
    assert advice.choice == choice


def test_a_group_that_does_not_keep_a_limit_is_named_as_it_was_written():
    from vptlib.report.words import in_language

    runs = of_classes(
        planted_runs({m: {200: 0.9, 400: 0.9} for m in ("vpt-deep", "full")}, images=800), TWELVE_PER_CENT
    )
    limits = read_limits({"miss_rate": {"class": "scratch", "at_most": 0.05, "every": "group"}})
    groups = np.arange(800) * 4 // 800
    advice = recommend(
        runs.assign(test_groups=[groups] * len(runs)), margin=0.08, limits=limits, class_names=("fine", "scratch"),
        group_names=("lot 7", "lot 9", "lot 11", "lot 13"),
    )  # fmt: skip
    said = " ".join(in_language().sentence(reason) for reason in advice.reasons)
    assert "lot 7" in said  # the first defects are missed, so all misses lie there


TWELVE_PER_CENT = {"vpt-deep": 0.12, "full": 0.12}


# ---- what is cheapest next --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vpt", "full"), [(0.60, 0.90), (0.90, 0.60), (0.80, 0.80)])
@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_advise_nothing_but_seeds(vpt, full, seeds):
    advice = recommend(table(vpt, full, seeds=seeds, images=2000, shared=0.95), margin=0.03)
    assert (advice.choice, advice.confidence) == ("more_seeds", "low")
    assert "quick_look" in codes(advice)


def test_what_more_seeds_take_counts_every_method_and_size_also_where_a_seed_is_not_finished():
    runs = table(0.80, 0.80, linear=0.7, seeds=3)
    whole = seconds_of_a_seed(runs)
    assert whole == pytest.approx(len(SIZES) * (1.8 + 32 + 42))  # linear probe, VPT-deep, full fine-tuning
    some = runs[(runs["method"] == "linear") | ((runs["seed"] == 0) & (runs["n"] == SIZES[-1]))]
    first = len(SIZES) * (1.8 + 45 + 60)  # the first seed tunes longer
    assert seconds_of_a_seed(some) == pytest.approx(first)
    assert recommend(some).reasons[1].values["seconds"] == pytest.approx(2 * first)


def test_one_seed_of_guesses_is_called_so_with_low_confidence():
    advice = recommend(flat(0.1, seeds=1, images=1000), chance=0.1)
    assert (advice.choice, advice.confidence) == ("nothing_works", "low")


def finding(code: str, method: str, n: int = 400, **values) -> AuditFinding:
    return AuditFinding(WARNING, Statement(code, values), ("a",), method, n)


def test_training_that_was_cut_short_comes_before_the_choice_where_it_can_change_it():
    runs = table(0.80, 0.82, **QUIET)
    assert recommend(runs, 0.01, findings=[finding("best_at_last_step", "vpt-deep")]).choice == "train_longer"
    assert recommend(runs, 0.01, findings=[finding("best_at_last_step", "full")]).choice == "fine_tune"
    assert recommend(runs, 0.01, findings=[finding("best_at_last_step", "vpt-deep", n=50)]).choice == "fine_tune"
    far = table(0.60, 0.82, **QUIET)
    assert recommend(far, 0.01, findings=[finding("best_at_last_step", "vpt-deep")]).choice == "fine_tune"


def test_what_the_audit_found_about_a_contender_lowers_the_confidence():
    runs = table(0.88, 0.80, **QUIET)
    assert recommend(runs, 0.03).confidence == "high"
    doubted = recommend(runs, 0.03, findings=[finding("choice_at_edge", "vpt-deep", solved=False)])
    assert (doubted.choice, doubted.confidence) == ("use_prompt", "medium")
    assert "audit_doubts" in codes(doubted)
    assert recommend(runs, 0.03, findings=[finding("choice_at_edge", "vpt-deep", solved=True)]).confidence == "high"
    assert recommend(runs, 0.03, findings=[finding("choice_at_edge", "full", solved=False)]).confidence == "high"


def test_a_larger_input_that_is_clearly_better_comes_first():
    larger = statement("larger_input_needs_time", size=224, accuracy=0.9, smaller=56, smaller_accuracy=0.7)
    advice = recommend(table(0.88, 0.80, **QUIET), 0.03, larger_input=larger)
    assert (advice.choice, advice.method, advice.confidence) == ("larger_input", "vpt-deep", "low")
    assert advice.reasons[1] == larger


def test_an_open_question_asks_for_what_would_settle_it():
    seeds = recommend(table(0.80, 0.83, images=4000, shared=0.95, seed_spread=0.02, random=1), margin=0.02)
    images = recommend(table(0.80, 0.82, images=500, shared=0.9, random=1), margin=0.02)
    assert {seeds.choice, images.choice} <= {"more_seeds", "more_test_images", "use_prompt", "fine_tune"}
    for advice in (seeds, images):
        if advice.choice in STEPS:
            asked = advice.reasons[1].values
            assert asked["step"] == advice.choice and asked["wanted"] > asked["now"]


def test_where_a_larger_study_would_save_little_the_loss_decides():
    few, more = (table(0.80, 0.80, images=i, shared=0.3, seed_spread=0.02, random=r) for i, r in ((100, 0), (400, 1)))
    asked = recommend(few, margin=0.02)
    assert asked.choice == "more_test_images" and asked.reasons[1].values["worth"] >= 0.25 * 0.02
    decided = recommend(more, margin=0.02)
    assert decided.uses and decided.confidence == "low" and decided.settles > 0.04
    assert decided.expected_loss[decided.method] == min(decided.expected_loss.values()) > 0.25 * 0.02


def test_a_larger_study_is_worth_the_more_the_larger_it_is_and_never_more_than_the_loss():
    runs = table(0.80, 0.82, 0.80, images=200, seed_spread=0.02, random=1)
    contest = Contest(runs, joint(runs), 0.02)
    images = [contest.worth_of_more(images=200 * times) for times in (1, 2, 4, 1000)]
    seeds = [contest.worth_of_more(seeds=number) for number in (3, 6, 10, 1000)]
    assert images[0] == seeds[0] == 0
    for rising in (images, seeds, [images[-1], contest.worth_of_more(seeds=1000, images=200_000)]):
        assert rising == sorted(rising) and rising[-1] > 0
    assert contest.worth_of_more(seeds=1000, images=200_000) <= contest.choice.expected_loss


def test_a_larger_study_is_asked_for_if_it_saves_more_than_it_costs():
    runs = table(0.80, 0.80, images=100, shared=0.3, seed_spread=0.02)
    asked = recommend(runs, margin=0.02).reasons[1].values
    assert (asked["step"], asked["wanted"]) == ("more_test_images", 400)
    free = {"seeds": 1.0, "test_images": 0.0}
    assert recommend(runs, 0.02, costs_of_more=free).choice == "more_test_images"
    dear = free | {"test_images": 1.1 * asked["worth"] / 300}
    for_half = recommend(runs, 0.02, costs_of_more=dear)
    assert for_half.uses or for_half.reasons[1].values["wanted"] == 200
    assert recommend(runs, 0.02, costs_of_more={"seeds": 1.0, "test_images": 1.0}).uses


def test_images_that_come_in_groups_are_asked_for_with_their_groups():
    runs = table(0.80, 0.80, images=100, shared=0.3, seed_spread=0.02)
    lots = runs.assign(test_groups=[np.arange(100) // 20] * len(runs))
    asked = recommend(lots, margin=0.02)
    assert asked.choice == "more_test_images" and asked.reasons[1].values["groups"] == 5
    assert "About 400 test images instead of 100, from 20 groups instead of 5, would" in en.sentence(asked.reasons[1])
    assert "groups" not in en.sentence(recommend(runs, margin=0.02).reasons[1])
    few, many = (uncertainty_left(lots, "vpt-deep", "full", images=n) for n in (200, 20_000))
    assert many < few < 0.5, "more groups also bring Student's t nearer to the normal distribution"


def test_what_all_know_to_be_equal_is_not_worth_a_larger_study():
    runs = planted_runs(
        {method: {400: 0.8} for method in SIZES_OF_METHODS}, images=2000, shared=0.9, seeds=5, seed_spread=0.005
    )
    contest = Contest(runs, joint(runs), 0.02)
    assert contest.worth_of_more(images=8000) < 0.1 * contest.margin


@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_a_gain_over_guessing_that_is_of_no_use_is_none(chance):
    little = flat(chance + 0.03, images=20_000, shared=0.9)
    advice = recommend(little, chance=chance)
    assert (advice.choice, advice.confidence, codes(advice)[1]) == ("nothing_works", "high", "little_above_chance")
    assert recommend(little, chance=chance, needed=chance + 0.01).uses, "the reader says what is of use"
    assert recommend(flat(chance + 0.2, images=20_000, shared=0.9), chance=chance).uses


@pytest.mark.parametrize("random", range(12))
def test_headline_confidence_and_reasons_never_contradict_each_other(random):
    draw = np.random.default_rng(random)
    accuracy = draw.uniform(0.3, 0.95, size=3)
    runs = table(*accuracy, images=int(draw.choice([30, 200, 1500])), seeds=int(draw.choice([1, 3, 5])), random=random)
    bar = draw.choice([None, 0.6])
    advice = recommend(runs, float(draw.choice([0.01, 0.05])), chance=0.25, needed=bar)
    said = advice.reasons[2]
    if advice.uses:
        assert said.code == "sure" and said.values["method"] == advice.method
        assert said.values["level"] == advice.confidence and said.values["probability"] == advice.probability
        assert (advice.confidence == "high") <= (advice.probability >= 0.95)
        assert (advice.confidence == "medium") <= (advice.probability >= 0.80)
    elif advice.choice == "nothing_works":
        assert said.code == "sure_nothing_works" and advice.method is None
    else:
        assert said.code == ("leads_so_far" if advice.method else "none_leads") and advice.confidence == "low"


# ---- strange tables ---------------------------------------------------------------------------------------------


def test_seeds_that_not_all_methods_have_are_left_out_and_named():
    runs = table(0.88, 0.80, seeds=4, **QUIET)
    short = runs[~((runs["method"] == "full") & (runs["seed"] == 3))]
    advice = recommend(short, 0.03)
    assert advice.seeds == 3
    assert [r.values["unused"] for r in advice.reasons if r.code == "seeds_not_common"] == [[3]]
    assert advice.difference == recommend(runs[runs["seed"] < 3], 0.03).difference


def test_a_method_that_lacks_the_size_is_no_candidate_and_named():
    runs = table(0.88, 0.80, 0.95, **QUIET)
    advice = recommend(runs[~((runs["method"] == "linear") & (runs["n"] == 400))], 0.03)
    assert advice.choice == "use_prompt" and "linear" not in advice.candidates
    assert [r.values["methods"] for r in advice.reasons if r.code == "methods_lacking"] == [["linear"]]


@pytest.mark.parametrize("images", [2, 10])
def test_a_handful_of_test_images_gets_an_answer_without_certainty(images):
    advice = recommend(table(0.88, 0.80, images=images), chance=0.5)
    assert advice.confidence != "high" and advice.settles > 0.2


def test_two_methods_right_on_every_image_need_no_more_labels():
    advice = recommend(flat(1 - 1e-12, **QUIET), margin=0.01, chance=0.1)
    assert (advice.choice, advice.confidence) == ("use_linear", "high")


@pytest.mark.parametrize("name", ["chance", "today", "needed"])
def test_a_share_that_is_no_fraction_is_refused(name):
    with pytest.raises(UserError, match=f"{name} is 80, but must be a fraction"):
        recommend(table(0.8, 0.8), **{name: 80})


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
    assert (advice_so_far(runs, 0.02).choice, advice_so_far(runs, 0.02).n) == ("use_prompt", 100)


# ---- costs and the summary --------------------------------------------------------------------------------------


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
    assert {"choice_code", "confidence", "reason_codes", "decide_again_at"} <= set(summary["recommendation"])
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
