"""vptlib.evidence.money and stages: bills are right by hand, ranges hold what they should, plans follow the advice."""

import math
from dataclasses import replace

import numpy as np
import pytest
from planted import planted_runs

from vptlib.errors import UserError
from vptlib.evidence.decision import advice_so_far, recommend
from vptlib.evidence.money import (
    ONCE,
    YEARLY,
    Pair,
    bills,
    comparison,
    further_labels,
    handicaps,
    price_sentence,
    turning,
    worth_asking,
)
from vptlib.evidence.prices import ASSUMED, Prices
from vptlib.evidence.recommendation import STEPS
from vptlib.evidence.stages import STAGES, chances, labels_needed, plan
from vptlib.report.config import read_config
from vptlib.report.money_charts import tornado_figure
from vptlib.report.sections.money import money_part, price_of
from vptlib.report.sections.stages import plan_part
from vptlib.report.words import en
from vptlib.statement import statement
from vptlib.study.study import Study

SIZES = (50, 100, 200, 400)
FREE = dict.fromkeys(
    [
        "retrainings_per_year", "engineer_days_per_project", "engineer_days_per_task", "engineer_days_per_retraining",
        "engineer_day_price", "compute_hour_price", "storage_price", "serving_price", "checks_per_month",
        "discount_rate",
    ],
    0.0,
)  # fmt: skip


def only(**prices) -> Prices:
    """Prices of which all that are not named cost nothing, over one year."""
    return Prices(**(FREE | {"label_price": 2.0, "horizon_years": 1.0} | prices))


def law(a: float, b: float) -> dict[int, float]:
    """Accuracies along error(n) = a · n^-b."""
    return {n: 1 - a * n**-b for n in SIZES}


@pytest.fixture(scope="module")
def level():
    """Three methods on the same curve: 78 % with 50 labels, 92 % with 400; 400 test images."""
    return planted_runs({method: law(1.56, 0.5) for method in ("linear", "vpt-deep", "full")})


@pytest.fixture(scope="module")
def full_ahead():
    """Full fine-tuning is 5 points ahead on every image set: no chance in it but that of the images."""
    runs = planted_runs({"vpt-deep": {400: 0.8}, "full": {400: 0.8}}, images=2000, shared=1.0)
    wrong = np.flatnonzero(~runs["correct"].iloc[0])[:100]
    better = runs["correct"].iloc[0].copy()
    better[wrong] = True
    runs["correct"] = [
        better if method == "full" else correct for method, correct in zip(runs.method, runs.correct, strict=True)
    ]
    return runs


# ---- the bill ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks, further", [(1, 0), (10, 9), (100, 99)])
def test_every_task_but_the_first_needs_labels_to_train_and_to_test(level, tasks, further):
    prices = only(tasks_planned=tasks)
    bill = bills(level, prices)["vpt-deep"]
    assert bill.items["labels"].likely == bill.total.likely == further * (400 + 400) * 2.0
    said = further_labels(bill, prices).values
    assert (said["train"], said["test"]) == (further * 400, further * 400)


def test_checked_answers_are_paid_as_labels_each_month(level):
    bill = bills(level, only(tasks_planned=10, checks_per_month=200, label_price=2.0))["full"]
    assert bill.items["checks"].likely == 12 * 200 * 10 * 2.0 == bill.yearly.likely


def test_people_are_paid_for_the_project_each_task_and_each_retraining(level):
    days = {"engineer_days_per_project": 7.0, "engineer_days_per_task": 2.0, "engineer_days_per_retraining": 0.5}
    prices = only(tasks_planned=10, engineer_day_price=600.0, retrainings_per_year=4.0, **days)
    bill = bills(level, prices)["vpt-deep"]
    assert bill.items["set_up"].likely == (7 + 10 * 2) * 600
    assert bill.items["retraining"].likely == 4 * 10 * 0.5 * 600


def test_computing_is_the_first_training_with_its_tuning_and_the_retrainings_without(level):
    """The planted table: 15 + seed seconds of training, 30 seconds with tuning."""
    bill = bills(level, only(tasks_planned=10, compute_hour_price=3600.0, retrainings_per_year=4.0))["vpt-deep"]
    assert bill.items["training"].likely == pytest.approx(10 * 30)
    assert bill.items["retraining"].likely == pytest.approx(4 * 10 * 16)


def test_light_methods_share_one_backbone_and_whole_models_are_served_one_by_one(level):
    found = bills(level, only(tasks_planned=10, serving_price=100.0))
    assert {method: bill.items["serving"].likely for method, bill in found.items()} == {
        "linear": 100, "vpt-deep": 100, "full": 1000,
    }  # fmt: skip
    assert {method: bill.own_models for method, bill in found.items()} == {
        "linear": False, "vpt-deep": False, "full": True,
    }  # fmt: skip


def test_storage_counts_the_shared_backbone_once(level):
    found = bills(level, only(tasks_planned=10, storage_price=1e9))
    assert found["full"].items["storage"].likely == pytest.approx(10 * 51_200_000)
    assert found["vpt-deep"].items["storage"].likely == pytest.approx(10 * 130_000 + 51_200_000)


@pytest.mark.parametrize("rate, years", [(0.0, 3.0), (0.05, (1 - 1.05**-3) / math.log(1.05)), (1e-9, 3.0)])
def test_the_total_is_once_and_the_discounted_years(level, rate, years):
    prices = only(tasks_planned=10, checks_per_month=200, discount_rate=rate, horizon_years=3)
    bill = bills(level, prices)["full"]
    assert bill.total.likely == pytest.approx(bill.once.likely + years * bill.yearly.likely)


def test_the_items_add_up(level):
    bill = bills(level, Prices(label_price=2, tasks_planned=10))["full"]
    assert set(bill.items) == {*ONCE, *YEARLY}
    assert bill.once.likely == pytest.approx(sum(bill.items[item].likely for item in ONCE))
    assert bill.yearly.likely == pytest.approx(sum(bill.items[item].likely for item in YEARLY))


def test_nothing_is_priced_without_the_price_of_a_label(level):
    assert bills(level, Prices(tasks_planned=10)) == {}
    assert price_sentence({}, Prices(), "full") == statement("not_priced")
    assert "label_price" in en.sentence(statement("not_priced"))
    assert handicaps(level, Prices(point_value=300)) is None


@pytest.mark.parametrize(
    "line, words",
    [
        ("label_price: two", '`label_price` must be a number or [low, likely, high], but is "two"'),
        ("label_price: [1, 2]", "label_price has 2 values, but must be one number or three"),
        ("label_price: [1, many, 3]", "`label_price` must be a number or [low, likely, high]"),
        ("label_price: 0", "label_price is 0, but must be a number above 0"),
        ("tasks_planned: 0.5", "tasks_planned is 0.5, but must be a number of 1 or more"),
        ("discount_rate: .inf", "discount_rate is inf, but must be a number of 0 or more, at most 1"),
        ("horizon_years: [3, 2, 1]", "horizon_years is [3, 2, 1], but must rise"),
        ("currency: Yen", "`currency` is 'Yen': take the three letters of ISO 4217, such as JPY or USD"),
        ("label_pice: 2", "`label_pice` is not a setting: did you mean 'label_price'?"),
    ],
)
def test_a_wrong_price_in_the_yaml_is_named_with_its_line(tmp_path, line, words):
    path = tmp_path / "mine.yaml"
    path.write_text(f"tasks: [digits]\n{line}\n")
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert f"{path}, line 2: " in str(caught.value) and words in str(caught.value)


def test_a_report_passes_its_prices_on(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("tasks: [digits]\nlabel_price: [1, 2, 4]\ntasks_planned: 10\n")
    config = read_config(path)
    assert Prices.among(config.asked) == Prices(label_price=(1, 2, 4), tasks_planned=10)
    assert config.studies()[0] == Study("digits")


# ---- ranges -----------------------------------------------------------------------------------------------------


def test_prices_without_a_range_give_sums_without_one(level):
    bill = bills(level, only(tasks_planned=10, checks_per_month=200))["full"]
    assert bill.total.low == bill.total.likely == bill.total.high


def test_a_range_is_the_middle_of_the_triangle(level):
    bill = bills(level, only(tasks_planned=2, label_price=[1, 2, 5]))["full"]
    each = bill.items["labels"]
    low, high = (1 + math.sqrt(0.025 * 4 * 1)) * 800, (5 - math.sqrt(0.025 * 4 * 3)) * 800
    assert (each.low, each.likely, each.high) == pytest.approx((low, 1600, high), rel=0.01)


def test_the_same_prices_give_the_same_ranges(level):
    prices = Prices(label_price=[1, 2, 4], tasks_planned=[5, 10, 40])
    first = bills(level, prices)
    assert first == bills(level, Prices(label_price=(1, 2, 4), tasks_planned=(5, 10, 40)))
    for bill in first.values():
        for span in (bill.once, bill.yearly, bill.total, *bill.items.values()):
            assert span.low <= span.likely <= span.high


def test_what_is_not_given_is_assumed_and_named_so():
    prices = Prices(label_price=[1, 2, 4], serving_price=70)
    assert prices.of("engineer_day_price") == tuple(2 * end for end in ASSUMED["engineer_day_price"].span)
    assert prices.of("horizon_years") == ASSUMED["horizon_years"].span
    assert prices.of("serving_price") == (70, 70, 70)
    assert [prices.given(name) for name in ("label_price", "serving_price", "storage_price")] == [True, True, False]
    assert set(prices.known()) == {*ASSUMED, "label_price"}


@pytest.mark.parametrize(
    "name, value",
    [
        ("label_price", 0), ("label_price", -1), ("label_price", math.nan), ("label_price", math.inf),
        ("label_price", True), ("label_price", "2"), ("label_price", [3, 2, 1]), ("label_price", [1, 2]),
        ("tasks_planned", 0), ("tasks_planned", [0.5, 1, 2]), ("horizon_years", 0), ("horizon_years", 1000),
        ("discount_rate", 1.5), ("discount_rate", -0.1), ("checks_per_month", -1), ("storage_price", [1, math.nan, 3]),
        ("point_value", 0),
    ],
)  # fmt: skip
def test_a_price_out_of_range_is_named(name, value):
    with pytest.raises(UserError, match=rf"^{name} (is|has) .*but must"):
        Prices(**{name: value})


def test_a_price_that_cannot_be_assumed_is_asked_for():
    with pytest.raises(UserError, match="label_price was not given and cannot be assumed: give it"):
        Prices().of("engineer_day_price")


# ---- handicaps --------------------------------------------------------------------------------------------------


def test_a_handicap_is_the_accuracy_that_the_yearly_cost_above_the_cheapest_is_worth(level):
    found = handicaps(level, only(tasks_planned=10, serving_price=100, point_value=3.0))
    assert found is not None
    assert found["linear"] == found["vpt-deep"] == 0
    assert found["full"] == pytest.approx(900 / (3.0 * 10) / 100)


def test_what_is_paid_once_counts_with_its_share_of_a_year(level):
    prices = only(tasks_planned=1, compute_hour_price=3600, point_value=1.0, horizon_years=2)
    found = handicaps(level, prices)
    assert found is not None
    assert found["full"] == pytest.approx((40 - 0.8) / 2 / 1.0 / 100)  # seconds of training with tuning


def test_a_dear_service_turns_the_recommendation_and_a_cheap_one_does_not(full_ahead):
    kept, turned = (
        recommend(
            full_ahead, handicaps=handicaps(full_ahead, only(tasks_planned=10, serving_price=price, point_value=3))
        )
        for price in (1, 1000)
    )
    assert (kept.choice, turned.choice) == ("fine_tune", "use_prompt")


# ---- two ways ---------------------------------------------------------------------------------------------------


def test_the_lead_is_accuracy_in_money_less_the_difference_of_the_bills(full_ahead):
    prices = only(tasks_planned=10, serving_price=100, point_value=3, horizon_years=2)
    lead = Pair(full_ahead, prices, "full", "vpt-deep").lead()
    assert lead.money.likely == pytest.approx(2 * (5 * 3 * 10 - 9 * 100))
    assert lead.probability == 0 and lead.valued
    assert "VPT-deep brings 1,500" in en.sentence(comparison(lead))


def test_two_ways_the_other_way_round_are_the_same_lead(level):
    prices = Prices(label_price=2, tasks_planned=10, point_value=300)
    one, other = (Pair(level, prices, a, b).lead() for a, b in (("full", "vpt-deep"), ("vpt-deep", "full")))
    assert one.money.likely == pytest.approx(-other.money.likely)
    assert one.money.low == pytest.approx(-other.money.high, rel=0.01)
    assert one.probability == pytest.approx(1 - other.probability)
    assert en.sentence(comparison(one)) == en.sentence(comparison(other))


def test_without_the_value_of_a_point_only_costs_are_compared(level):
    lead = Pair(level, only(tasks_planned=10, serving_price=100), "vpt-deep", "full").lead()
    assert lead.money.likely == 900 and not lead.valued
    assert "point_value" in en.sentence(comparison(lead))


def test_the_number_of_tasks_at_which_the_order_turns_is_right_by_hand(full_ahead):
    """5 points at 10 each for T tasks, against T - 1 further services at 60: level at T = 60 / (60 - 50)."""
    pair = Pair(full_ahead, only(serving_price=60, point_value=10), "vpt-deep", "full")
    found = pair.break_even("tasks_planned")
    assert found.value == pytest.approx(6)
    assert (found.below, found.above) == ("full", "vpt-deep")
    assert found.low < 6 < found.high and 0 < found.share <= 1
    assert en.sentence(turning(found)).startswith("Below 6 tasks")


def test_the_price_of_a_label_at_which_the_order_turns_is_right_by_hand(level):
    """9 tasks more: 9 · 100 labels less at p each, against 9 further services at 300."""
    pair = Pair(level, only(tasks_planned=10, serving_price=300), "vpt-deep", "full", {"vpt-deep": 200, "full": 100})
    found = pair.break_even("label_price")
    assert found.value == pytest.approx(3) and (found.low, found.high) == pytest.approx((3, 3))
    assert (found.below, found.above) == ("vpt-deep", "full")


def test_the_interval_of_the_turn_holds_the_planted_one():
    """Measured on 200 tables each: 98 % with three seeds, 96 % with five."""
    held = 0
    for k in range(30):
        truth = {"vpt-deep": {400: 0.80}, "full": {400: 0.85}}
        runs = planted_runs(truth, images=1000, seed_spread=0.01, random=1000 + k)
        found = Pair(runs, only(serving_price=80, point_value=10), "vpt-deep", "full").break_even("tasks_planned")
        held += found.low <= 80 / (80 - 50) <= found.high
    assert held >= 27


def test_no_turn_within_the_range_is_an_answer(level):
    pair = Pair(level, only(tasks_planned=10, serving_price=300), "vpt-deep", "full")
    for name in ("label_price", "tasks_planned"):
        found = pair.break_even(name)
        assert found.value is None and found.below == found.above == "vpt-deep"
    assert en.sentence(turning(pair.break_even("tasks_planned"))) == (
        "VPT-deep is the cheaper way from 1 to 10,000 tasks."
    )


def test_a_wider_range_of_prices_gives_a_wider_interval_of_the_turn(level):
    labels = {"vpt-deep": 200, "full": 100}
    narrow, wide = (
        Pair(level, only(tasks_planned=10, serving_price=price), "vpt-deep", "full", labels).break_even("label_price")
        for price in ([280, 300, 320], [100, 300, 600])
    )
    assert narrow.value == wide.value == pytest.approx(3)
    assert wide.low < narrow.low < 3 < narrow.high < wide.high


def test_the_tornado_is_sorted_and_each_bar_is_that_price_alone(level):
    given = {"label_price": 2.0, "tasks_planned": 10.0, "point_value": 300.0}
    swings = Pair(level, Prices(**given), "vpt-deep", "full").tornado()
    assert [s.width for s in swings] == sorted((s.width for s in swings), reverse=True)
    assert {"serving_price", "accuracy"} <= {swing.name for swing in swings}
    serving = next(swing for swing in swings if swing.name == "serving_price")
    fixed = {name: Prices(**given).of(name).likely for name in ASSUMED}
    for end, lead in zip(serving.at, serving.lead, strict=True):
        alone = Pair(level, Prices(**(fixed | given | {"serving_price": end})), "vpt-deep", "full").lead()
        assert alone.money.likely == pytest.approx(lead)


def test_a_figure_that_turns_the_order_is_marked(full_ahead):
    pair = Pair(full_ahead, only(tasks_planned=10, serving_price=[10, 40, 100], point_value=10), "vpt-deep", "full")
    turns = {swing.name: swing.turns for swing in pair.tornado()}
    assert turns["serving_price"] and not turns["accuracy"]


def test_two_ways_that_cannot_be_compared_are_refused(level):
    prices = Prices(label_price=2)
    with pytest.raises(UserError, match="no 'lora', only linear, vpt-deep, full"):
        Pair(level, prices, "lora", "full")
    with pytest.raises(UserError, match="no 'full' with 70 labelled images, only with 50, 100, 200, 400"):
        Pair(level, prices, "full", "vpt-deep", {"full": 70})


# ---- what asking is worth ---------------------------------------------------------------------------------------


def test_asking_pays_if_what_it_could_show_is_worth_more_than_it_costs(level):
    prices = only(tasks_planned=10, point_value=300, compute_hour_price=3600)
    seeds, images, labels = worth_asking(
        level, prices, {"seeds": 0.0001, "test_images": 0.001}, {"seeds": 5, "test_images": 100, "labels": 400}
    )
    assert seeds.values["price"] == pytest.approx(5 * (0.8 + 30 + 40))  # seconds of all methods with their tuning
    assert seeds.values["worth"] == pytest.approx(0.01 * 300 * 10) and not seeds.values["pays"]
    assert images.values["price"] == 200 and images.values["worth"] == pytest.approx(300) and images.values["pays"]
    assert labels.values["gain"] == pytest.approx(400 * 10 * 2 / (300 * 10) / 100)


def test_where_a_point_has_no_value_nothing_is_worth_asking(level):
    assert worth_asking(level, Prices(label_price=2), {"seeds": 0.1}, {"seeds": 5}) == []


# ---- the plan ---------------------------------------------------------------------------------------------------


def test_one_training_reaches_less_surely_than_the_mean_of_several():
    """The accuracy needed lies a little below the mean: the mean is above it, a single training often is not."""
    runs = planted_runs(
        {m: {400: 0.80} for m in ("vpt-deep", "full")}, seeds=5, images=20_000, seed_spread=0.03, random=1
    )
    mean = runs[runs.method == "full"].accuracy.mean()
    chance = chances(runs, mean - 0.02).loc[400, "full"]
    assert 0.5 < chance < 0.92


def test_operate_is_seldom_said_where_one_training_in_four_falls_short():
    """Measured on 100 tables: in 4; a rule that asks whether the mean reaches the accuracy would say it in 31."""
    stages = []
    for k in range(30):
        truth = {method: {400: 0.80} for method in ("vpt-deep", "full")}
        runs = planted_runs(truth, seeds=5, images=2000, seed_spread=0.02, random=5000 + k)
        stages.append(plan(runs, "fine_tune", "full", needed=0.80 - 0.02 * 0.74).stage)  # one training: 77 %
    assert stages.count("operate") <= 4


def test_the_chance_rises_with_labels_and_falls_with_what_is_needed(level):
    table = chances(level, 0.85)
    assert list(table.index) == list(SIZES) and list(table) == ["linear", "vpt-deep", "full"]
    assert table["full"].is_monotonic_increasing
    assert (chances(level, 0.95).loc[400] <= table.loc[400]).all()


def test_labels_needed_are_those_of_a_size_that_was_run(level):
    assert labels_needed(level, 0.80)["full"] in SIZES
    assert labels_needed(level, 0.999)["full"] is None


def test_a_method_that_lacks_a_size_has_no_chance_there(level):
    runs = level[~((level.method == "full") & (level.n == 400))]
    table = chances(runs, 0.85)
    assert np.isnan(table.loc[400, "full"]) and table.loc[400, "vpt-deep"] > 0.5


@pytest.mark.parametrize("needed", [0, 1, 90])
def test_an_accuracy_out_of_range_is_named(level, needed):
    with pytest.raises(UserError, match=r"accuracy_needed is .*, but must be between 0 and 1"):
        chances(level, needed)


@pytest.mark.parametrize(
    "choice, method, needed, stage",
    [
        ("use_prompt", "vpt-deep", 0.85, "operate"),
        ("use_prompt", "vpt-deep", None, "operate"),
        ("use_prompt", "vpt-deep", 0.91, "pilot"),
        ("more_labels", "full", 0.91, "pilot"),
        ("more_labels", "full", 0.99, "label_more"),
        ("more_seeds", "full", 0.50, "study_more"),
        ("train_longer", "full", None, "study_more"),
        ("no_answer", None, 0.9, "study_more"),
        ("nothing_works", None, 0.9, "out_of_sight"),
    ],
)
def test_the_stage_follows_the_advice_and_the_chance_of_one_training(level, choice, method, needed, stage):
    again = None if choice in ("no_answer", "nothing_works") else 800
    found = plan(level, choice, method, needed=needed, decide_again_at=again)
    assert found.stage == stage and found.headline in found.stages
    assert all(en.sentence(one).endswith(".") for one in found.stages)


@pytest.mark.parametrize("choice", STEPS)
def test_where_more_is_asked_for_nothing_is_operated(level, choice):
    assert plan(level, choice, "full", needed=0.5, decide_again_at=800).stage != "operate"


def test_checked_answers_become_the_labels_of_the_next_decision(level):
    stages = plan(
        level, "use_prompt", "vpt-deep", needed=0.85, decide_again_at=800, prices=Prices(checks_per_month=150)
    ).stages
    assert statement("collect", checks=150.0, labels=400, months=3, given=True) in stages
    assert stages[-1] == statement("decide_again_by_convention", n=800, times=2)


def test_without_checks_the_labels_are_bought(level):
    prices = Prices(checks_per_month=0, label_price=2)
    stages = plan(level, "use_prompt", "vpt-deep", needed=0.85, decide_again_at=800, prices=prices).stages
    assert statement("buy_labels", labels=400, price=800.0) in stages


def test_each_stage_has_its_words():
    assert set(en.PLAN_STEPS) == set(STAGES)


# ---- tables that are not as they should be ----------------------------------------------------------------------


def test_a_table_without_times_or_bytes_is_refused(level):
    prices = Prices(label_price=2)
    with pytest.raises(UserError, match="no column 'tuning_seconds'"):
        bills(level.drop(columns="tuning_seconds"), prices)
    with pytest.raises(UserError, match="no bytes_per_task of 'full'"):
        bills(level.assign(bytes_per_task=level.bytes_per_task.where(level.method != "full")), prices)
    with pytest.raises(UserError, match="empty"):
        bills(level[:0], prices)


def test_one_seed_and_ten_test_images_still_have_a_bill():
    runs = planted_runs({"vpt-deep": {50: 0.8}, "full": {50: 0.8}}, seeds=1, images=10)
    prices = Prices(label_price=2, tasks_planned=10, point_value=300)
    assert bills(runs, prices)["full"].items["labels"].likely == 9 * 60 * 2
    assert 0 < Pair(runs, prices, "vpt-deep", "full").lead().probability < 1
    assert plan(runs, "more_seeds", "full", needed=0.7).stage == "study_more"


# ---- in words and pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount, text",
    [
        (34_256, "34,000"),
        (-34_256, "\u221234,000"),
        (0.1234, "0.12"),
        (0, "0"),
        (7.0, "7"),
        (-1e-30, "0"),
        (0.0163, "0.02"),
    ],
)
def test_money_is_written_with_two_digits(amount, text):
    assert en.money(amount) == text


def test_the_first_page_has_the_sum_its_range_and_how_much_is_assumed(level):
    prices = Prices(label_price=2, tasks_planned=10)
    found = bills(level, prices)
    said = price_sentence(found, prices, "vpt-deep", "full")
    assert said.values["assumed"] == len(ASSUMED) - 1
    text = en.sentence(said)
    assert text.startswith("For 10 tasks and 3 years VPT-deep costs ") and "Full fine-tuning costs" in text
    assert en.money_span(*found["full"].total) in text


def test_every_price_and_item_has_a_name():
    assert set(en.PRICES) == {*Prices(label_price=1, point_value=1).known(), "accuracy"}
    assert set(en.BILL_ITEMS) == {*ONCE, *YEARLY}


@pytest.mark.parametrize("point_value", [None, 300])
def test_no_text_leaves_the_tornado(level, point_value):
    prices = Prices(label_price=[1, 2, 9], tasks_planned=[2, 10, 400], point_value=point_value)
    pair = Pair(level, prices, "vpt-deep", "full")
    figure = tornado_figure(pair.lead(), pair.tornado())
    box = figure.axes[0].get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def page_of(pieces) -> str:
    return "".join(piece.data for piece in pieces)


def test_the_section_shows_bills_assumptions_and_the_turn(level):
    asked = {"label_price": 2, "tasks_planned": 10, "point_value": 300, "accuracy_needed": 0.85, "limits": {}}
    advice = recommend(level, needed=0.85, handicaps=handicaps(level, Prices.among(asked)))
    page = page_of(money_part(level, asked, advice))
    for text in ("Labels to train and to test", "assumed", "given", "one for all tasks", "Number of tasks", "<img"):
        assert text in page
    assert en.sentence(price_of(level, asked, advice)) in page


def test_without_the_price_of_a_label_the_section_names_the_key_and_no_figure(level):
    (_, sentence) = money_part(level, {"tasks_planned": 10, "label_price": None}, recommend(level))
    assert "label_price" in sentence.data and "assumed" not in sentence.data


def test_where_nothing_works_nothing_is_priced(level):
    advice = replace(recommend(level), choice="nothing_works", method=None)
    (_, sentence) = money_part(level, {"label_price": 2}, advice)
    assert en.sentence(statement("none_to_price")) in sentence.data


def test_the_plan_is_printed_with_its_stages(level):
    page = page_of(plan_part(level, {"accuracy_needed": 0.85}, recommend(level, needed=0.85)))
    positions = [page.index(f">{label}") for label in ("PoC", "Operate", "Collect", "Decide again")]
    assert positions == sorted(positions)


def test_a_study_that_has_no_answer_yet_has_its_bill_all_the_same(level):
    runs = level[level.method == "vpt-deep"]
    advice = advice_so_far(runs)
    page = page_of([*money_part(runs, {"label_price": 2}, advice), *plan_part(runs, {}, advice)])
    assert "In all, over 3 years" in page and "<img" not in page and "not finished" in page
