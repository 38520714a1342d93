"""Page 1 answers five questions, contradicts none of its reasons, and is made whatever is missing."""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from planted import planted_runs

from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task
from vptlib.evidence.decision import advice_so_far
from vptlib.evidence.limits import read_limits
from vptlib.evidence.recommendation import (
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    NO_ANSWER,
    NOTHING_WORKS,
    STEPS,
    TRAIN_LONGER,
    Recommendation,
)
from vptlib.evidence.stages import LABEL_MORE, OPERATE, PILOT
from vptlib.report.sections.decision import (
    Judged,
    against_today,
    costs_of,
    decide_again,
    decision_page,
    how_sure,
    over_tasks,
)
from vptlib.report.words import languages, speaking, words
from vptlib.statement import statement

FINGERPRINT = "0123456789abcdef"
CLEAR = {"linear": {100: 0.5, 400: 0.55}, "vpt-deep": {100: 0.7, 400: 0.88}, "full": {100: 0.5, 400: 0.7}}
PRICES = {"label_price": 0.5, "tasks_planned": 10}


@cache
def planted(seeds=3, images=600, classes=4, **truth) -> pd.DataFrame:
    """A table with predictions: the next class where an answer is wrong."""
    runs = planted_runs(truth or CLEAR, seeds=seeds, images=images, shared=0.9)
    labels = np.arange(images) % classes
    predictions = [np.where(right, labels, (labels + 1) % classes) for right in runs["correct"]]
    return runs.assign(predictions=predictions, truth=[labels] * len(runs))


def task_of(classes=4, images=600, names=None, title="Solder joints") -> Task:
    def some(labels):
        return ImageSet(np.zeros((len(labels), 2, 2, 3), np.uint8), labels)

    names = names or tuple(f"class {k}" for k in range(classes))
    labels = np.arange(images) % classes
    return Task("planted", title, some(labels), some(labels), names, "own images", "classification", "CC0", "drawn")


ADVICES: dict[tuple, Recommendation] = {}


def advised(runs, needed, today) -> Recommendation:
    """The recommendation for a table; worked out once."""
    key = (len(runs), runs["correct"].iloc[0].tobytes(), tuple(runs["method"]), needed, today)
    if key not in ADVICES:
        ADVICES[key] = advice_so_far(runs, 0.01, chance=0.25, needed=needed, today=today)
    return ADVICES[key]


def judged(runs=None, *, task=None, asked=None, advice=None, **about) -> Judged:
    runs = planted() if runs is None else runs
    task = task or task_of(images=len(runs["correct"].iloc[0]))
    asked = asked or {}
    advice = advice or advised(runs, asked.get("accuracy_needed"), asked.get("accuracy_today"))
    return Judged(task=task, runs=runs, advice=advice, margin=0.01, asked=asked, **about)


def html(*several: Judged) -> str:
    return "".join(str(part.data) for part in decision_page("Title & <co>", several, FINGERPRINT))


def text(*several: Judged) -> str:
    """What a reader sees: no tags, no drawings."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r'"data:[^"]*"', '""', html(*several))).split())


# ---- the five questions -----------------------------------------------------------------------------------------


def test_the_five_questions_are_answered_on_one_page():
    one = judged(asked={"accuracy_needed": 0.8, "accuracy_today": 0.75} | PRICES, pixels=224)
    page = text(one)
    assert "Put a light add-on to one shared model (VPT-deep) into operation for" in page  # what to do next
    assert "Confidence high" in page and "more than 9 of 10" in page  # how sure
    assert "Now, once" in page and "In a year" in page and "For 10 tasks" in page  # what it costs
    assert page.count("What catches it:") == len(one.risks) == 3  # what can go wrong and what catches it
    assert "Decide again at" in page and "The approver below decides" in page  # when again, and who
    for word in ("Drafted", "Reviewed", "Approved", FINGERPRINT, "sha256sum summary.json", "224 × 224 pixels"):
        assert word in page, word


def test_names_are_escaped_and_headings_skip_no_level():
    page = html(judged(task=task_of(title="Bolts & <nuts>")))
    assert "<nuts>" not in page and "Bolts &amp; &lt;nuts&gt;" in page and "Title &amp; &lt;co&gt;" in page
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1 and all(later - level <= 1 for level, later in pairwise(levels))
    assert not re.search(r"<th[^>]*>\s*</th>", page)


def test_no_word_of_the_trade_stands_in_the_next_step_or_the_risks():
    one = judged()
    said = " ".join(words.sentence(found) for found in (one.step, *(risk.what for risk in one.risks)))
    assert not re.search(r"backbone|natural images|prompt|frozen|layer|probe", said, re.IGNORECASE)


# ---- the next step and its reasons ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice, code",
    [
        (MORE_SEEDS, "next_seeds"),
        (MORE_TEST_IMAGES, "next_test_images"),
        (LARGER_INPUT, "next_larger_input"),
        (TRAIN_LONGER, "next_train_longer"),
        (MORE_LABELS, "next_labels"),
        (NOTHING_WORKS, "next_use_none"),
        (NO_ANSWER, "next_finish"),
    ],
)
@pytest.mark.parametrize("code_of_language", languages())
def test_each_step_has_its_sentence_and_its_page(choice, code, code_of_language):
    one = stepping(choice)
    assert one.step.code == code
    with speaking(code_of_language):
        assert words.sentence(one.step) in text(one).replace("&amp;", "&")


@pytest.mark.parametrize("code_of_language", languages())
def test_tasks_with_every_step_share_a_page(code_of_language):
    with speaking(code_of_language):
        page = text(*map(stepping, STEPS))
        assert all(words.step_in_short(stepping(step).step.code, None) in page for step in STEPS)


def stepping(choice: str) -> Judged:
    """A study whose answer is this step."""
    reasons = list(judged().advice.reasons)
    reasons[1] = statement("cut_short", methods=["full"])
    if choice == NO_ANSWER:
        reasons[0] = statement("not_compared_yet", n=400, lacking=["full"])
    method = None if choice in (NO_ANSWER, NOTHING_WORKS) else "vpt-deep"
    return judged(advice=replace(judged().advice, choice=choice, method=method, confidence="low", reasons=reasons))


def test_there_is_a_test_for_every_step():
    assert {MORE_SEEDS, MORE_TEST_IMAGES, LARGER_INPUT, TRAIN_LONGER, MORE_LABELS, NOTHING_WORKS, NO_ANSWER} == set(
        STEPS
    )


@pytest.mark.parametrize(
    "stage, bar, code",
    [
        (OPERATE, None, "next_use"),
        (OPERATE, 0.8, "next_operate"),
        (PILOT, 0.8, "next_pilot"),
        (LABEL_MORE, 0.8, "next_labels"),
    ],
)
def test_the_next_step_follows_the_plan(stage, bar, code):
    one = judged(asked={} if bar is None else {"accuracy_needed": bar})
    one.__dict__["plan"] = replace(one.plan, stage=stage)
    assert one.advice.uses and one.step.code == code


def test_more_seeds_and_images_come_with_their_numbers_and_their_cost():
    quick = judged(planted(seeds=1))
    assert quick.advice.choice == MORE_SEEDS and quick.step.values == {"task": "Solder joints", "now": 1, "wanted": 3}
    assert "takes about" in " ".join(costs_of(quick).notes)
    wanted = statement(
        "open_between", first="linear", second="full", step=MORE_TEST_IMAGES, now=600, wanted=1200, worth=0.01,
        seconds=None, groups=None,
    )  # fmt: skip
    advice = judged().advice
    reasons = [advice.reasons[0], wanted, *advice.reasons[2:]]
    more = judged(advice=replace(advice, choice=MORE_TEST_IMAGES, reasons=reasons), asked={"label_price": 2})
    assert more.step.values["wanted"] == 1200
    assert costs_of(more).notes[0] == "The next step takes 600 further labelled test images, about 1,200."


# ---- how sure ---------------------------------------------------------------------------------------------------


def test_a_quick_look_gives_no_probability_anywhere():
    one = judged(planted(seeds=1), asked={"accuracy_needed": 0.8, "accuracy_today": 0.7})
    sure, probability = how_sure(one)
    assert probability is None and sure.code == "sure_of_nothing" and sure.values["seconds"] > 0
    page = text(one)
    assert "seeds: [0, 1, 2]" in page
    assert not re.search(r" of 10\b|(?<!gives no )probability", page)


@pytest.mark.parametrize(
    "probability, chance, filled", [(0.78, "about 8 of 10", 156.0), (0.999, "more than 9 of 10", 199.8)]
)
def test_ten_figures_show_the_probability_and_never_promise_certainty(probability, chance, filled):
    one = judged()
    page = html(judged(advice=replace(one.advice, probability=probability)))
    assert f'role="img" aria-label="Chance: {chance}"' in page
    assert f'class="filled" x="0" y="0" width="{filled}"' in page


def test_where_an_accuracy_is_needed_the_probability_is_that_of_reaching_it():
    assert how_sure(judged(asked={"accuracy_needed": 0.8}))[0].code == "sure_of_reaching"
    assert how_sure(judged())[0].code == "sure_of_use"


def test_what_is_not_reached_or_not_kept_yet_is_no_chance_of_the_leading_way():
    missed = statement("not_reached", method="vpt-deep", bar=0.9, accuracy=0.88, chance=0.3, mean=0.2, of_today=False)
    broken = statement("limits_not_kept", method="vpt-deep", finding=statement("limit_without_images"))
    advice = judged().advice
    for reason, code in ((missed, "sure_of_missing"), (broken, "none_keeps_limits_yet")):
        reasons = [advice.reasons[0], reason, *advice.reasons[2:]]
        one = judged(advice=replace(advice, choice=MORE_LABELS, reasons=reasons), asked={"accuracy_needed": 0.9})
        sure, probability = how_sure(one)
        assert sure.code == code and probability == (one.chance(0.9) if code == "sure_of_missing" else None)


# ---- against today, and cost ------------------------------------------------------------------------------------


def test_what_was_asked_is_set_against_one_training_and_the_rest_says_what_to_give():
    one = judged(asked={"accuracy_today": 0.7})
    found = {each.code: each.values for each in against_today(one)}
    assert found["against_today"]["chance"] > 0.95 and "against_needed" not in found
    assert found["nothing_to_compare_with"]["lacking"] == ["accuracy_needed", "limits"]
    assert found["right_in_test"]["accuracy"] == pytest.approx(one.point["mean"])


def test_a_present_way_that_is_never_right_needs_no_chance():
    found = {each.code: each.values for each in against_today(judged(asked={"accuracy_today": 0.0}))}
    assert found["against_today"]["chance"] is None and "accuracy_today" not in str(found["nothing_to_compare_with"])


def test_limits_stand_on_the_page_misses_first_and_many_are_counted():
    given = {
        "accuracy": {"at_least": 0.5},
        "recall": [{"class": f"class {k}", "at_least": 0.5} for k in range(4)],
        "miss_rate": {"class": "class 1", "at_most": 0.001},
    }
    one = judged(asked={"limits": given})
    found = against_today(one)
    shown = [each.values for each in found if each.code == "limit_on_page"]
    assert shown[0]["kind"] == "miss_rate" and len(shown) == 2
    assert shown[0]["verdict"] == "not_met" and one.risks[0].what.code == "risk_limit_not_met"
    assert next(each for each in found if each.code == "further_limits").values == {"limits": 4, "not_kept": 0}


def test_without_prices_the_page_has_time_and_storage_and_says_what_gives_money():
    found = costs_of(judged())
    assert found.heads[1] == "Computing now" and found.rows[0][1:] == (("30\u202fs", ""), ("130\u202fkB", ""))
    assert "label_price" in found.notes[-1]


def test_with_prices_the_way_and_its_rival_have_a_range_now_and_in_a_year():
    found = costs_of(judged(asked=PRICES))
    assert len(found.rows) == 2 and all(" to " in span for row in found.rows for _, span in row[1:])
    assert "the currency of label_price" in found.notes[-1]


@pytest.mark.parametrize("tasks", [1, 2])
def test_sums_on_the_page_have_their_currency_by_name_in_each_language(tasks):
    one = judged(asked=PRICES | {"currency": "JPY"})
    assert "in Japanese yen" in text(*[one] * tasks)
    with speaking("ja"):
        assert "単位：円" in text(*[one] * tasks)


def test_prices_on_top_of_missing_times_give_a_reason_instead_of_a_bill():
    runs = planted().assign(train_seconds=np.nan, tuning_seconds=np.nan)
    assert "train_seconds" in costs_of(judged(runs, asked=PRICES)).notes[-1]
    assert costs_of(judged(runs)).rows[0][1] == ("–", "")


# ---- decide again -----------------------------------------------------------------------------------------------


def test_when_to_decide_again_has_a_number_and_where_it_comes_from():
    one = judged()
    when, why = decide_again(one)[0].values, one.advice.decide_again_why
    assert why is not None and (when["n"], when["why"]) == (one.advice.decide_again_at, why.code)
    assert decide_again(stepping(MORE_SEEDS))[0].values["wait"]
    assert decide_again(stepping(NOTHING_WORKS))[0].values["why"] == "change"


# ---- several tasks ----------------------------------------------------------------------------------------------


def test_several_tasks_have_one_sentence_one_table_and_one_approval():
    first, second = judged(asked=PRICES), judged(planted(seeds=1), task=task_of(title="Casings"), asked=PRICES)
    said = over_tasks([first, second, first])
    assert said.code == "tasks_differ" and said.values["steps"][0]["titles"] == ["Solder joints"] * 2
    page = html(first, second)
    assert page.count('<tr><th scope="row" dir="auto"><a href="#planted">') == 2
    assert page.count('class="approval"') == 1 and page.count("<article") == 2


def test_the_share_of_wrong_answers_is_the_mean_of_what_their_probabilities_leave():
    one = judged()
    unsure = judged(advice=replace(one.advice, probability=0.7))
    said = over_tasks([one, unsure])
    assert said.code == "tasks_agree"
    assert said.values["wrong"] == pytest.approx((1 - one.advice.probability + 0.3) / 2)
    assert over_tasks([judged(planted(seeds=1))] * 2).values["wrong"] is None


# ---- what is missing never breaks it ----------------------------------------------------------------------------


@cache
def without(method: str) -> pd.DataFrame:
    return planted()[planted()["method"] != method]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(lambda: without("full"), id="no full fine-tuning"),
        pytest.param(lambda: without("vpt-deep"), id="no VPT-deep"),
        pytest.param(lambda: without("linear")[without("linear")["method"] == "full"], id="one method"),
        pytest.param(lambda: planted(seeds=1), id="one seed"),
        pytest.param(lambda: planted()[planted()["n"] == 400], id="one size"),
        pytest.param(lambda: planted().assign(accuracy=np.nan), id="NaN accuracy"),
        pytest.param(lambda: planted().drop(columns=["predictions"]), id="no predictions"),
        pytest.param(lambda: planted().assign(val_accuracy=np.nan), id="NaN validation"),
        pytest.param(lambda: planted(images=12), id="twelve test images"),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"accuracy_needed": 0.9, "limits": {"accuracy": {"at_least": 0.9}}} | PRICES])
def test_a_page_is_made_whatever_is_missing(runs, asked):
    page = text(judged(runs(), asked=asked))
    assert "Approval" in page and "nan" not in page.lower().replace("finance", "")


@pytest.mark.parametrize("name", ["x" * 200, "خدش عميق في السطح المعدني", "<b>&", "ナット"])
def test_many_classes_and_any_name_are_shown(name):
    names = (name, *(f"class {k}" for k in range(1, 300)))
    runs = planted(images=1200, classes=300)
    one = judged(runs, task=task_of(300, 1200, names), asked={"limits": {"recall": {"class": name, "at_least": 0.99}}})
    page = html(one)
    assert "x" * 41 not in page and "<b>&" not in page
    assert "recall" not in text(one) and "recognised" in text(one)


def test_probabilities_are_asked_for_of_the_shown_method_only():
    asked_for = []
    judged(probabilities=lambda method, seed, n: asked_for.append((method, n))).answers  # noqa: B018
    assert set(asked_for) == {("vpt-deep", 400)}


def test_a_limit_that_only_more_trainings_can_show_asks_for_them_and_not_for_images():
    runs = planted_runs({"vpt-deep": {400: 0.8}, "full": {400: 0.7}}, images=4000, seed_spread=0.1, random=1)
    labels = np.arange(4000) % 2
    predictions = [np.where(right, labels, 1 - labels) for right in runs["correct"]]
    runs = runs.assign(predictions=predictions, truth=[labels] * len(runs))
    limits = read_limits({"accuracy": {"at_least": 0.6}})
    advice = advice_so_far(runs, 0.01, limits=limits, class_names=("a", "b"))
    found = advice.reasons[1].values["finding"]
    assert (found.code, found.values["keeps"]) == ("limit_open_for_good", True)
    assert advice.choice == MORE_SEEDS
