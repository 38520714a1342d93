"""What a method gets wrong, on planted answers: rates with intervals, mistakes, probabilities, thresholds, limits."""

import math

import numpy as np
import pandas as pd
import pytest
from planted import answers_with_rate, planted_answers

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers, answers_of, best_method, exact_bounds
from vptlib.evidence.certainty import (
    calibration,
    operating_curve,
    operating_point,
    selective,
    selective_curve,
)
from vptlib.evidence.limits import (
    MET,
    NOT_MET,
    UNDECIDED,
    Limit,
    check_classes,
    fewest_images,
    left_for_promotion,
    limits_for,
    limits_tested,
    read_gate_limits,
    read_limits,
)
from vptlib.evidence.mistakes import (
    about_classes,
    about_groups,
    class_rates,
    confused_pairs,
    confusion,
    wrong_images,
)

FEW = Answers(
    predictions=np.array([[0, 0, 1, 2, 0], [0, 1, 1, 2, 2]]),
    truth=np.array([0, 0, 1, 2, 2]),
    class_names=("scratch", "pit", "fine"),
    seeds=(0, 1),
)


# ---- counts -----------------------------------------------------------------------------------------------------


def test_recall_and_precision_are_counted_over_all_trainings():
    found = {each.name: each for each in class_rates(FEW)}
    assert found["scratch"].recall.value == 3 / 4 and found["scratch"].precision.value == 3 / 4
    assert found["pit"].recall.value == 1.0 and found["pit"].precision.value == 2 / 3
    assert found["fine"].recall.value == 3 / 4 and found["fine"].precision.value == 1.0
    assert [each.taken_for for each in found.values()] == ["pit", "", "scratch"]


def test_the_confusion_matrix_has_a_row_for_each_class_and_every_answer_once():
    counts = confusion(FEW)
    assert counts.tolist() == [[3, 1, 0], [0, 2, 0], [1, 0, 3]]
    pairs = confused_pairs(FEW)
    assert list(zip(pairs["truth"], pairs["prediction"], pairs["images"], strict=True)) == [
        ("scratch", "pit", 0.5),
        ("fine", "scratch", 0.5),
    ]


def test_a_class_that_no_test_image_shows_has_no_recall_and_is_named():
    answers = Answers(np.array([[0, 0, 1]]), np.array([0, 0, 0]), ("a", "b", "c"))
    found = class_rates(answers)
    assert math.isnan(found[1].recall.value) and (found[1].recall.low, found[1].recall.high) == (0.0, 1.0)
    assert found[1].precision.value == 0.0 and math.isnan(found[2].precision.value)
    codes = {each.code: each.values for each in about_classes(answers)}
    assert codes["classes_not_tested"] == {"names": ["b", "c"], "classes": 2}
    assert "worst_class" not in codes


def test_the_worst_class_is_named_with_an_interval_wider_than_its_own():
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 100)
    right = random.random((1, 400)) < np.where(truth == 2, 0.6, 0.9)
    answers = Answers(np.where(right, truth, (truth + 1) % 4), truth, ("a", "b", "c", "d"))
    worst = next(each for each in about_classes(answers) if each.code == "worst_class").values
    own = class_rates(answers)[2].recall
    assert worst["name"] == "c" and worst["recall"] == own.value
    assert worst["low"] < own.low and worst["high"] > own.high


# ---- intervals --------------------------------------------------------------------------------------------------


def test_one_training_without_groups_has_the_interval_of_wilson():
    answers = Answers(np.array([[0] * 45 + [1] * 5]), np.zeros(50, dtype=int), ("a", "b"))
    recall = class_rates(answers)[0].recall
    assert (recall.low, recall.high) == (pytest.approx(0.7864, abs=1e-4), pytest.approx(0.9565, abs=1e-4))


@pytest.mark.parametrize(
    "planted",
    [
        {"trainings": 1},
        {"trainings": 3},
        {"trainings": 3, "spread": 0.04},
        {"trainings": 5, "spread": 0.04},
        {"trainings": 10, "spread": 0.04},
        {"trainings": 1, "group": 10, "of_groups": 0.4},
        {"trainings": 3, "group": 10, "of_groups": 0.4},
        {"trainings": 3, "group": 10, "of_groups": 0.4, "spread": 0.03},
    ],
    ids=str,
)
def test_the_interval_of_a_recall_holds_the_truth_in_93_per_cent_of_tests_or_more(planted):
    random, held = np.random.default_rng(5), 0
    for _ in range(200):
        answers = answers_with_rate(0.85, shared=0.5, random=random, **planted)
        rate = answers.rate(answers.right, answers.truth == 0)
        held += rate.low <= 0.85 <= rate.high
    assert held / 200 >= 0.93 - 0.02  # two standard errors of 200 tests are 3.6 %


def test_groups_widen_an_interval_and_images_that_are_groups_of_their_own_do_not():
    grouped = answers_with_rate(0.8, trainings=1, group=20, of_groups=0.45, random=3)
    parts = grouped.predictions, grouped.truth, grouped.class_names
    alone, own = Answers(*parts), Answers(*parts, groups=np.arange(grouped.images))
    width = [a.rate(a.right, np.ones_like(a.right)) for a in (grouped, alone, own)]
    assert width[0].high - width[0].low > 1.3 * (width[1].high - width[1].low)
    assert width[1] == width[2]


def test_without_a_mistake_groups_count_and_not_their_images():
    truth = np.zeros(100, dtype=int)
    answers = Answers(truth[None], truth, ("a", "b"), groups=np.repeat(np.arange(10), 10))
    rate = answers.rate(answers.right, answers.truth == 0)
    assert rate.effective == pytest.approx(10, rel=1e-3) and rate.low < 0.75


def test_one_group_alone_gives_an_interval_and_no_fault():
    truth = np.zeros(30, dtype=int)
    answers = Answers(np.array([[0] * 20 + [1] * 10]), truth, ("a", "b"), groups=np.zeros(30, dtype=int))
    rate = answers.rate(answers.right, answers.truth == 0)
    assert rate.low < 0.2 and rate.high > 0.9


def test_the_exact_bound_of_no_mistake_in_149_images_is_two_per_cent():
    assert exact_bounds(0.0, 149)[1] == pytest.approx(0.0199, abs=1e-4)
    assert exact_bounds(1.0, 149)[0] == pytest.approx(0.9801, abs=1e-4)
    assert exact_bounds(0.0, 149)[0] == 0.0 and exact_bounds(1.0, 149)[1] == 1.0


# ---- groups and images ------------------------------------------------------------------------------------------


def test_the_group_in_which_the_model_fails_is_named_and_called_clear():
    random = np.random.default_rng(1)
    groups, truth = np.repeat(np.arange(8), 50), np.zeros(400, dtype=int)
    right = random.random((3, 400)) < np.where(groups == 5, 0.5, 0.9)
    (found,) = about_groups(Answers(np.where(right, 0, 1), truth, ("a", "b"), groups=groups))
    assert found.code == "worst_group" and found.values["group"] == "5" and found.values["clear"]
    named = Answers(np.where(right, 0, 1), truth, ("a", "b"), groups=groups, group_names=tuple("ABCDEF"))
    assert [found.values["group"] for found in about_groups(named)] == ["F"]


def test_the_worst_of_groups_that_are_all_alike_is_seldom_called_clear():
    clear = 0
    for seed in range(60):
        answers = answers_with_rate(0.9, images=400, trainings=1, group=50, random=seed)
        clear += next(iter(about_groups(answers))).values["clear"]
    assert clear <= 6


def test_groups_of_one_image_have_no_worst():
    answers = answers_with_rate(0.9, images=40)
    alone = Answers(answers.predictions, answers.truth, answers.class_names, groups=np.arange(40))
    assert [found.code for found in about_groups(alone)] == ["groups_too_small"]
    assert about_groups(answers) == []


def test_the_surest_mistakes_come_first_and_the_others_are_drawn_from_the_rest():
    answers = planted_answers(images=200)
    found = wrong_images(answers, most=5)
    wrong = np.flatnonzero(~answers.right[0])
    assert found.wrong == len(wrong) and set(found.surest + found.at_random) <= set(wrong)
    assert not set(found.surest) & set(found.at_random)
    assert answers.confidence[0, list(found.surest)].min() >= answers.confidence[0, list(found.at_random)].max()
    assert list(np.argsort(-answers.confidence[0, list(found.surest)])) == list(range(5))


def test_without_probabilities_wrong_images_are_drawn_at_random_only():
    found = wrong_images(FEW)
    assert found.surest == () and found.at_random == (4,)


# ---- probabilities ----------------------------------------------------------------------------------------------


def test_perfect_probabilities_are_seldom_faulted_and_too_sure_ones_nearly_always():
    seen = {sure: [calibration(planted_answers(400, random=k, too_sure=sure)) for k in range(40)] for sure in (1, 2)}
    flagged = {sure: sum(found.seen > found.by_chance for found in all_) for sure, all_ in seen.items()}
    assert flagged[1] <= 5 and flagged[2] >= 38
    assert all(found.gap > 0 for found in seen[2])


@pytest.mark.parametrize("too_sure, truth", [(1.0, 0.0), (1.5, 0.064), (2.5, 0.122)])
def test_the_interval_of_the_calibration_error_holds_its_truth(too_sure, truth):
    found = [calibration(planted_answers(400, 1, random=1000 + k, too_sure=too_sure)) for k in range(100)]
    held = sum(each.low <= truth + 0.002 and truth - 0.002 <= each.high for each in found)
    assert held >= 91
    assert np.mean([each.error for each in found]) == pytest.approx(truth, abs=0.03)


def test_the_bins_of_the_reliability_table_hold_every_answer():
    found = calibration(planted_answers(400, 3))
    assert found.bins["answers"].sum() == pytest.approx(400)
    assert found.bins["confidence"].is_monotonic_increasing
    assert (found.bins["low"] <= found.bins["accuracy"]).all() and (found.bins["accuracy"] <= found.bins["high"]).all()


def test_what_the_model_answers_by_itself_is_as_right_as_was_wanted():
    found = [selective(planted_answers(800, 2, random=k), 0.95) for k in range(25)]
    accuracy = np.mean([each.accuracy.value for each in found])
    assert 0.94 <= accuracy <= 0.97
    assert 0.2 < np.mean([each.share.value for each in found]) < 0.8
    assert all(each.finding().code == "answers_by_itself" for each in found)


def test_too_few_images_give_no_threshold_and_say_how_many_it_takes():
    found = selective(planted_answers(60), 0.99)
    assert not found.is_possible and found.finding().values["needed"] == 124


def test_the_accuracy_of_the_surest_ends_at_the_accuracy_of_all():
    answers = planted_answers(400)
    curve = selective_curve(answers)
    assert curve["accuracy"].iloc[-1] == pytest.approx(answers.right.mean())
    assert curve["accuracy"].iloc[5] > curve["accuracy"].iloc[-1] + 0.1
    assert (curve["low"] <= curve["accuracy"]).all() and (curve["accuracy"] <= curve["high"]).all()


def test_a_threshold_for_misses_keeps_them_on_images_that_did_not_choose_it():
    found = [operating_point(planted_answers(800, 2, random=k), ("class 0",), 0.05) for k in range(25)]
    assert np.mean([each.misses.value for each in found]) == pytest.approx(0.05, abs=0.01)
    assert np.mean([each.false_alarms.value for each in found]) < 0.5


def test_too_few_defects_choose_no_threshold_and_all_is_stopped():
    truth = np.array([0] * 5 + [1] * 95)
    answers = planted_answers(100, 1, classes=2)
    few = Answers(answers.predictions, truth, answers.class_names, answers.probabilities)
    found = operating_point(few, ("class 0",), 0.02)
    assert found.finding().code == "too_few_defects" and found.needed == 62
    assert found.misses.value == 0.0 and found.false_alarms.value == 1.0


def test_what_is_measured_is_never_told_of_a_threshold_that_the_parts_could_not_choose():
    """Ten defects choose one that misses a tenth; the eight of them in four of five parts do not."""
    answers = planted_answers(100, 1, classes=2)
    few = Answers(
        answers.predictions, np.arange(100) // 10, tuple("abcdefghij"), np.eye(10)[np.arange(100) // 10][None]
    )
    found = operating_point(few, ("a",), 0.1)
    assert found.false_alarms.value == 1.0 and not np.isfinite(found.threshold)
    assert found.finding().code == "too_few_defects" and found.needed == 12


def test_the_curve_of_misses_falls_from_all_to_none():
    curve = operating_curve(planted_answers(400), ("class 0", "class 1"))
    assert curve["misses"].iloc[-1] == 0.0 and (curve["misses"].diff().dropna() <= 1e-9).all()
    assert curve["misses"].iloc[0] <= 1.0 and (curve["low"] <= curve["misses"]).all()


def test_a_defect_that_is_unknown_or_that_all_images_show_has_no_curve():
    answers = planted_answers(50)
    with pytest.raises(UserError, match="no class 'dent': the classes are class 0"):
        operating_curve(answers, ("dent",))
    assert operating_curve(answers, answers.class_names) is None
    assert operating_point(answers, answers.class_names, 0.1) is None
    with pytest.raises(UserError, match="between 0 and 1"):
        operating_point(answers, ("class 0",), 0.0)


def test_a_training_whose_probabilities_are_no_numbers_is_left_out():
    answers = planted_answers(100, 3)
    broken = answers.probabilities.copy()
    broken[1, 4, 0] = np.nan
    found = Answers(answers.predictions, answers.truth, answers.class_names, broken, seeds=(0, 1, 2))
    assert found.sure.trainings == 2 and found.sure.seeds == (0, 2)
    assert calibration(found).trainings == 2 and np.isfinite(calibration(found).error)
    broken[:] = np.nan
    nothing = Answers(answers.predictions, answers.truth, answers.class_names, broken)
    assert nothing.sure is None and calibration(nothing) is None
    assert selective(nothing, 0.9) is None and selective_curve(nothing) is None


@pytest.mark.parametrize("images", [2, 5, 10])
def test_a_handful_of_images_gives_an_answer_to_everything(images):
    answers = planted_answers(images, 1, classes=2, random=4)
    assert len(class_rates(answers)) == 2 and confusion(answers).sum() == images
    assert 0 <= calibration(answers).error <= 1
    assert selective_curve(answers)["accuracy"].between(0, 1).all()
    found = selective(answers, 0.9)
    assert found is None or not found.is_possible


# ---- limits -----------------------------------------------------------------------------------------------------


def test_limits_are_read_from_mappings_and_lists():
    given = {
        "miss_rate": {"class": ["scratch", "pit"], "at_most": 0.02},
        "recall": [{"class": "scratch", "at_least": 0.9}, {"class": "pit", "at_least": 1}],
        "accuracy": {"at_least": 0.9},
    }
    assert read_limits(given) == [
        Limit("miss_rate", ("scratch", "pit"), 0.02),
        Limit("recall", ("scratch",), 0.9),
        Limit("recall", ("pit",), 1.0),
        Limit("accuracy", (), 0.9),
    ]
    assert read_limits({}) == []


@pytest.mark.parametrize(
    "given, message",
    [
        ({"mis_rate": {}}, "limits has no 'mis_rate': did you mean 'miss_rate'"),
        ({"miss_rate": {"class": "scratch", "at_least": 0.9}}, "'miss_rate' must have class, at_most"),
        ({"accuracy": 0.9}, r"'accuracy' must have at_least, such as accuracy: \{at_least: 0.9\}"),
        ({"accuracy": {"at_least": 90}}, "at_least of the limit 'accuracy' is 90, but must be a fraction"),
        ({"accuracy": {"at_least": True}}, "must be a fraction"),
        ({"recall": {"class": ["a", "b"], "at_least": 0.9}}, "give a limit for each"),
        ({"recall": {"class": 7, "at_least": 0.9}}, "put the name of a class in quotes"),
        ({"miss_rate": {"class": [], "at_most": 0.1}}, "names no class"),
        ({"accuracy": {"at_least": 0.9, "evry": "group"}}, "'accuracy' must have at_least, .*may have every: group"),
        ({"accuracy": {"at_least": 0.9, "every": "lot"}}, "every of the limit 'accuracy' is 'lot', but must be group"),
        ({"latencies": {}}, "limits has no 'latencies': did you mean 'latency'"),
        ({"latency": {"at_least": 50}}, r"'latency' must have at_most, such as latency: \{at_most: 50\}"),
        ({"latency": {"at_most": 0}}, "must be milliseconds above 0"),
        ({"no_worse_than_production": {"by": 1}}, "by of the limit .* is 1, but must be a fraction below 1"),
        ({"calibration_error": {"at_most": 5}}, "must be a fraction from 0 to 1"),
        ({"robustness": {"corruption": "blurr", "severity": 3, "at_least": 0.8}}, "did you mean 'blur'"),
        ({"robustness": {"corruption": "blur", "severity": 2.5, "at_least": 0.8}}, "a whole number from 1 to 5"),
        ({"explanations": {"maps": "grad", "checks": ["faithful"]}}, "maps of the limit 'explanations' is 'grad': "),
        ({"explanations": {"maps": "gradcam", "checks": "faithful"}}, "must be a list of differences, faithful"),
        ({"explanations": {"maps": "gradcam", "checks": ["faitful"]}}, "did you mean 'faithful'"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_the_fix(given, message):
    with pytest.raises(UserError, match=message):
        read_limits(given)


def test_a_limit_for_an_unknown_class_is_refused_with_the_classes():
    with pytest.raises(UserError, match="a class 'dent' that there is not: the classes are scratch, fine"):
        check_classes([Limit("recall", ("dent",), 0.9)], ("scratch", "fine"))
    with pytest.raises(UserError, match="did you mean 'scratch'"):
        check_classes([Limit("recall", ("scrach",), 0.9)], ("scratch", "fine"))
    assert limits_for([Limit("recall", ("dent",), 0.9), Limit("accuracy", (), 0.9)], ("a",)) == [
        Limit("accuracy", (), 0.9)
    ]


def of_misses(misses: int, images: int, at_most: float):
    """A limit of misses on one training that misses so many of so many defects."""
    truth = np.zeros(images, dtype=int)
    predictions = np.array([[1] * misses + [0] * (images - misses)])
    (found,) = limits_tested(
        Answers(predictions, truth, ("defect", "fine")), [Limit("miss_rate", ("defect",), at_most)]
    )
    return found


def test_no_miss_in_149_defects_shows_two_per_cent_and_in_148_it_does_not():
    assert of_misses(0, 149, 0.02).verdict == MET
    just_short = of_misses(0, 148, 0.02)
    assert just_short.verdict == UNDECIDED and just_short.needed == 150  # 149, rounded up to two digits
    assert of_misses(20, 149, 0.02).verdict == NOT_MET


def test_what_is_needed_would_do_and_grows_as_the_rate_nears_the_limit():
    near, far = of_misses(3, 200, 0.02), of_misses(1, 200, 0.02)
    assert far.needed is not None and near.needed is not None and near.needed > far.needed
    assert exact_bounds(1 / 200, far.needed)[1] <= 0.02
    assert of_misses(5, 200, 0.02).needed is None  # the rate itself is above the limit


@pytest.mark.parametrize(
    "planted",
    [{"trainings": 1}, {"trainings": 3, "spread": 0.02}, {"trainings": 3, "group": 10, "of_groups": 0.4}],
    ids=str,
)
def test_a_limit_at_the_truth_is_called_met_in_five_per_cent_of_tests_at_most(planted):
    random, verdicts = np.random.default_rng(8), []
    for _ in range(200):
        answers = answers_with_rate(0.9, images=1000, random=random, **planted)
        verdicts.append(limits_tested(answers, [Limit("accuracy", (), 0.9)])[0].verdict)
    assert verdicts.count(MET) <= 20 and verdicts.count(NOT_MET) <= 20


def test_trainings_that_differ_much_keep_a_limit_open_for_good():
    truth = np.zeros(4000, dtype=int)
    rates = np.array([[0.99], [0.9], [0.96]])
    right = np.random.default_rng(0).random((3, 4000)) < rates
    answers = Answers(np.where(right, 0, 1), truth, ("defect", "fine"))
    (found,) = limits_tested(answers, [Limit("recall", ("defect",), 0.93)])
    assert found.verdict == UNDECIDED and found.needed is None
    assert found.finding().code == "limit_open_for_good" and found.finding().values["keeps"]


def test_a_defect_taken_for_another_defect_is_no_miss():
    answers = Answers(np.array([[1, 0, 2, 1]]), np.array([0, 1, 2, 2]), ("scratch", "pit", "fine"))
    both = ("scratch", "pit")
    misses, alarms = limits_tested(answers, [Limit("miss_rate", both, 0.1), Limit("false_alarm_rate", both, 0.1)])
    assert misses.rate.value == 0.0 and alarms.rate.value == 0.5


def test_a_limit_that_no_test_image_counts_for_is_open_and_says_so():
    answers = Answers(np.array([[1, 1]]), np.array([1, 1]), ("scratch", "fine"))
    (found,) = limits_tested(answers, [Limit("miss_rate", ("scratch",), 0.1)])
    assert found.verdict == UNDECIDED and found.finding().code == "limit_without_images"


# ---- limits in each group ---------------------------------------------------------------------------------------


def of_lots(*lots: tuple[int, int], at_least: float = 0.9):
    """A limit on accuracy in each lot, on one training with so many mistakes in so many images of each lot."""
    wrong = np.concatenate([np.arange(images) < mistakes for mistakes, images in lots])
    groups = np.repeat(np.arange(len(lots)), [images for _, images in lots])
    names = tuple(f"lot {number}" for number in range(1, len(lots) + 1))
    answers = Answers(wrong.astype(int)[None], np.zeros_like(groups), ("a", "b"), groups=groups, group_names=names)
    (found,) = limits_tested(answers, read_limits({"accuracy": {"at_least": at_least, "every": "group"}}))
    return found


def test_a_limit_for_each_group_is_met_only_if_every_group_shows_it_by_itself():
    good = of_lots((2, 100), (3, 100), (1, 100))
    assert good.verdict == MET and (good.group, good.groups, good.not_shown) == ("lot 2", 3, 0)
    # All together have 96 % right, far above the limit; the second lot alone breaks it.
    bad = of_lots((0, 400), (25, 100), (0, 100))
    assert bad.verdict == NOT_MET and (bad.group, bad.not_shown, bad.rate.value) == ("lot 2", 1, 0.75)
    finding = bad.finding()
    assert finding.code == "limit_in_groups" and finding.values["group"] == "lot 2"
    assert finding.values["finding"].code == "limit_not_met" and finding.values["needed"] is None


def test_a_group_with_too_few_images_leaves_its_limit_open_and_says_how_many_would_do():
    found = of_lots((2, 100), (0, 20), (0, 25))
    assert found.verdict == UNDECIDED and (found.group, found.not_shown) == ("lot 2", 2)
    assert found.needed == 29 and exact_bounds(1.0, 29)[0] >= 0.9 > exact_bounds(1.0, 28)[0]
    assert found.finding().values["finding"].values["needed"] == 29
    assert of_lots((2, 100), (0, 29)).verdict == MET


def test_a_group_whose_own_rate_breaks_the_limit_is_worse_than_a_smaller_one():
    found = of_lots((2, 100), (0, 5), (4, 30))
    assert found.verdict == UNDECIDED and found.group == "lot 3" and found.needed is None


def test_a_group_without_a_defect_leaves_a_limit_of_misses_open_and_says_how_many_it_takes():
    truth, groups = np.array([0] * 200 + [1] * 50), np.array([0] * 200 + [7] * 50)
    answers = Answers(truth[None], truth, ("scratch", "fine"), groups=groups, group_names=("north",))
    limit = {"miss_rate": {"class": "scratch", "at_most": 0.02, "every": "group"}}
    (found,) = limits_tested(answers, read_limits(limit))
    assert found.verdict == UNDECIDED and found.group == "7"  # it has no name
    values = found.finding().values
    assert values["finding"].code == "limit_without_images" and values["needed"] == 149


@pytest.mark.parametrize("side, value, needed", [("at_most", 0.02, 149), ("at_most", 0.0, None), ("at_most", 1.0, 1)])
def test_the_fewest_images_are_those_that_show_a_limit_without_a_mistake(side, value, needed):
    limit = Limit("miss_rate", ("a",), value)
    assert fewest_images(limit) == needed
    if needed is not None and needed > 1:
        assert exact_bounds(0.0, needed)[1] <= value < exact_bounds(0.0, needed - 1)[1]


def test_a_limit_for_each_group_of_images_without_groups_is_open_and_says_so():
    answers = Answers(np.zeros((1, 500), dtype=int), np.zeros(500, dtype=int), ("a", "b"))
    (found,) = limits_tested(answers, read_limits({"accuracy": {"at_least": 0.9, "every": "group"}}))
    assert found.verdict == UNDECIDED and found.finding().code == "limit_without_groups"


def test_of_many_groups_at_the_limit_one_is_rarely_called_broken_and_all_are_rarely_called_met():
    random, verdicts = np.random.default_rng(3), []
    for _ in range(200):
        mistakes = random.binomial(100, 0.1, 20)
        verdicts.append(of_lots(*((int(each), 100) for each in mistakes)).verdict)
    assert verdicts.count(NOT_MET) <= 20 and verdicts.count(MET) == 0


# ---- limits that are tested at promotion ------------------------------------------------------------------------

OF_GATES = {
    "no_worse_than_production": {"by": 0.01},
    "calibration_error": {"at_most": 0.05},
    "latency": {"at_most": 50},
    "robustness": [{"corruption": "blur", "severity": 3, "at_least": 0.8}],
    "explanations": {"maps": "gradcam", "checks": ["faithful", "depends_on_the_model"]},
}


def test_limits_of_a_promotion_are_read_and_decide_nothing_in_a_report():
    given = OF_GATES | {"accuracy": {"at_least": 0.9}}
    assert read_limits(given) == [Limit("accuracy", (), 0.9)]
    gates = read_gate_limits(given)
    assert [limit.kind for limit in gates] == list(OF_GATES)
    assert gates[3].given == {"corruption": "blur", "severity": 3, "at_least": 0.8}
    (said,) = left_for_promotion(given)
    assert said.code == "limits_at_promotion" and said.values["kinds"] == list(OF_GATES)
    assert left_for_promotion({"accuracy": {"at_least": 0.9}}) == []


# ---- tables of runs ---------------------------------------------------------------------------------------------


def table() -> pd.DataFrame:
    truth = np.array([0, 1, 1])
    rows = [
        {"method": method, "n": n, "seed": seed, "accuracy": share, "predictions": np.array(answer), "truth": truth}
        | {"correct": np.array(answer) == truth}
        for method, n, seed, answer, share in [
            ("linear", 10, 0, [0, 0, 1], 2 / 3),
            ("linear", 40, 1, [0, 1, 1], 1.0),
            ("linear", 40, 0, [0, 0, 1], 2 / 3),
            ("full", 40, 0, [0, 0, 0], 1 / 3),
        ]
    ]
    return pd.DataFrame(rows)


def test_answers_are_those_of_the_largest_size_in_the_order_of_the_seeds():
    found = answers_of(table(), "linear", ("a", "b"))
    assert found.seeds == (0, 1) and found.predictions.tolist() == [[0, 0, 1], [0, 1, 1]]
    assert found.sure is None and found.groups is None
    assert best_method(table()) == "linear"


def test_a_run_without_probabilities_stands_next_to_runs_that_have_them():
    given = {0: np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), 1: None}
    found = answers_of(table(), "linear", ("a", "b"), probabilities=lambda _method, seed, _n: given[seed])
    assert found.sure.seeds == (0,) and found.trainings == 2


def test_a_table_without_the_truth_the_method_or_the_predictions_is_refused():
    with pytest.raises(UserError, match="no column 'truth'"):
        answers_of(table().drop(columns="truth"), "linear", ("a", "b"))
    with pytest.raises(UserError, match="no finished run of 'lora'"):
        answers_of(table(), "lora", ("a", "b"))
    with pytest.raises(UserError, match="no column 'predictions'"):
        answers_of(table().drop(columns="predictions"), "linear", ("a", "b"))
    with pytest.raises(UserError, match="classes from 0 to 1, but 1 have a name"):
        answers_of(table(), "linear", ("a",))


def test_three_hundred_classes_and_ten_thousand_images_each_have_a_recall():
    random = np.random.default_rng(0)
    truth = random.integers(300, size=10_000)
    predictions = np.where(random.random((5, 10_000)) < 0.8, truth, random.integers(300, size=10_000))
    answers = Answers(predictions, truth, tuple(f"class {k}" for k in range(300)), groups=np.arange(10_000) // 8)
    found = class_rates(answers)
    assert len(found) == 300 and all(0 <= each.recall.low <= each.recall.value <= each.recall.high for each in found)
