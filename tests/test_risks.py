"""The risks of a decision follow from what was found: the greatest first, three where there are three."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from planted import answers_with_rate, planted_answers, planted_runs

from vptlib.data.findings import Finding
from vptlib.evidence.answers import Answers
from vptlib.evidence.audit import NOTE, WARNING, AuditFinding
from vptlib.evidence.decision import recommend
from vptlib.evidence.limits import limits_tested, read_limits
from vptlib.evidence.mistakes import about_classes, about_groups
from vptlib.evidence.recommendation import NOTHING_WORKS, Recommendation
from vptlib.evidence.risks import Known, risks
from vptlib.report.words import in_language
from vptlib.statement import statement
from vptlib.study.doubles import Doubles

CLEAR = {"vpt-deep": {400: 0.9}, "full": {400: 0.6}}
EQUAL = {"vpt-deep": {400: 0.82}, "full": {400: 0.8}}


@cache
def advised(equal: bool, seeds: int, tested: int) -> Recommendation:
    return recommend(planted_runs(EQUAL if equal else CLEAR, seeds=seeds, images=tested, shared=0.95), 0.01)


def known(equal=False, seeds=3, tested=1500, **changes) -> Known:
    """What is known of a study with planted accuracies, and nothing else unless it is given."""
    return replace(Known(advice=advised(equal, seeds, tested), margin=0.01, method="vpt-deep"), **changes)


def codes(found: Known, most: int = 20) -> list[str]:
    return [risk.what.code for risk in risks(found, most)]


def answers(right: np.ndarray, classes: int = 3, **about) -> Answers:
    """Answers of one training to as many images: the classes in turn, the next class where it is not right."""
    truth = np.arange(len(right)) % classes
    names = tuple(f"class {k}" for k in range(classes))
    return Answers(np.where(right, truth, (truth + 1) % classes)[None], truth, names, **about)


def test_there_are_three_and_the_last_one_possible_is_that_images_change():
    assert len(risks(known())) <= 3
    assert codes(known())[-1] == "risk_drift"
    everything = known(answers=planted_answers(images=900), audit=[_cut_short()])
    assert len(risks(everything)) == 3


def _cut_short(**about) -> AuditFinding:
    what = statement("best_at_last_step", method="full", n=400, seeds=[0], steps=200)
    return AuditFinding(**({"level": WARNING, "what": what, "run_ids": ("a",), "method": "full", "n": 400} | about))


def test_a_quick_look_is_the_greatest_risk():
    assert codes(known(seeds=1))[0] == "risk_quick_look"
    assert "risk_quick_look" not in codes(known(seeds=3))


def test_a_broken_limit_comes_before_an_open_one_and_others_are_counted():
    of = answers_with_rate(0.8, images=300)
    given = {"accuracy": {"at_least": 0.95}, "recall": {"class": "defect", "at_least": 0.95}}
    broken = limits_tested(of, read_limits(given))
    open_one = limits_tested(of, read_limits({"accuracy": {"at_least": float(of.right.mean()) - 0.001}}))
    found = risks(known(answers=of, limits=[*open_one, *broken]))
    assert [risk.what.code for risk in found[:2]] == ["risk_limit_not_met", "risk_limit_open"]
    assert (found[0].what.values["limit"], found[0].what.values["others"]) == (0.95, 1)
    assert found[0].caught_by.code == "caught_at_promotion"
    assert found[1].caught_by.values["images"] == open_one[0].needed


def test_an_accuracy_that_is_surely_reached_is_no_risk():
    assert "risk_not_reached" in codes(known(bar=0.9, chance=0.7))
    assert "risk_not_reached" not in codes(known(bar=0.9, chance=0.99))
    assert "risk_not_reached" not in codes(known(bar=0.9, chance=None))


def test_a_class_is_a_risk_only_if_it_is_clearly_below_the_mean():
    right = np.ones(300, dtype=bool)
    right[::3][:60] = False  # 60 of the 100 images of class 0
    weak = answers(right)
    found = next(risk.what for risk in risks(known(answers=weak), 20) if risk.what.code == "risk_weak_class")
    assert found.values == {"name": "class 0", "recall": pytest.approx(0.4), "overall": pytest.approx(0.8)}
    even = answers(np.arange(300) % 10 > 0)
    assert about_classes(even)[0].code == "worst_class" and "risk_weak_class" not in codes(known(answers=even))


def test_a_class_without_test_images_is_named():
    of = answers(np.ones(90, dtype=bool))
    more = Answers(of.predictions, of.truth, (*of.class_names, "rare"))
    found = next(risk.what for risk in risks(known(answers=more), 20) if risk.what.code == "risk_class_untested")
    assert found.values == {"name": "rare", "classes": 1}


def test_a_lot_is_a_risk_only_if_it_is_clearly_below_and_unknown_lots_are_one():
    right = np.ones(300, dtype=bool)
    right[:60] = False
    lots = answers(right, groups=np.arange(300) // 100, group_names=("a", "b", "c"))
    assert about_groups(lots)[0].values["clear"]
    found = [risk.what for risk in risks(known(answers=lots), 20)]
    weak = next(what for what in found if what.code == "risk_weak_lot")
    assert (weak.values["group"], weak.values["accuracy"]) == ("a", pytest.approx(0.4))
    assert "risk_unseen_lots" not in [what.code for what in found]
    assert "risk_unseen_lots" in codes(known(answers=answers(right)))


def test_wrong_answers_are_caught_by_a_person_where_probabilities_allow_it():
    sure = planted_answers(images=900)
    share = {risk.what.code: risk for risk in risks(known(answers=sure), 20)}["risk_wrong_answers"]
    assert share.what.values["wrong"] == pytest.approx(1 - sure.right.mean())
    assert share.caught_by.code == "caught_by_a_person" and 0 < share.caught_by.values["checked"] < 1
    without = replace(sure, probabilities=None)
    share = {risk.what.code: risk for risk in risks(known(answers=without), 20)}["risk_wrong_answers"]
    assert share.caught_by.code == "caught_by_checking_all"
    nans = replace(sure, probabilities=np.full_like(sure.probabilities, np.nan))
    assert "risk_not_calibrated" not in codes(known(answers=nans))


def test_no_wrong_answer_is_no_risk():
    assert "risk_wrong_answers" not in codes(known(answers=answers(np.ones(90, dtype=bool))))


def test_probabilities_that_promise_too_much_are_a_risk():
    assert "risk_not_calibrated" in codes(known(answers=planted_answers(images=900, too_sure=3.0)))
    assert "risk_not_calibrated" not in codes(known(answers=planted_answers(images=900)))


def test_warnings_of_the_audit_are_a_risk_and_notes_and_the_edge_of_a_solver_are_not():
    assert "risk_audit" in codes(known(audit=[_cut_short()]))
    assert "risk_audit" not in codes(known(audit=[_cut_short(level=NOTE)]))
    edge = statement(
        "choice_at_edge",
        method="linear",
        n=400,
        side="largest",
        chosen=1.0,
        tried=[0.1, 1.0],
        further=10.0,
        solved=True,
    )
    assert "risk_audit" not in codes(known(audit=[_cut_short(what=edge)]))


def test_images_that_flatter_the_figures_come_before_limits():
    shared = statement("groups_on_both_sides", shared=2, groups=9, tested=40, test=100, pair=["a.png", "b.png"])
    double = Doubles(labelled=400, tested=100, copies=7, alike=0, example=("a", "b")).finding()
    alike = Doubles(labelled=400, tested=100, copies=0, alike=3).finding()
    of = answers_with_rate(0.8, images=300)
    limits = limits_tested(of, read_limits({"accuracy": {"at_least": 0.95}}))
    images = [Finding("warning", shared), double]
    found = codes(known(answers=of, limits=limits, images=images))
    assert found[:3] == ["risk_groups_on_both_sides", "risk_duplicates", "risk_limit_not_met"]
    assert not {"risk_duplicates", "risk_images"} & set(codes(known(answers=of, limits=limits, images=[alike])))


def test_what_a_study_cannot_see_is_said_if_it_matters():
    blind = known(equal=True, tested=100)
    assert blind.advice.settles > 0.01
    found = next(risk.what for risk in risks(blind, 20) if risk.what.code == "risk_blind")
    assert found.values["difference"] == blind.advice.settles
    assert "risk_blind" not in codes(replace(blind, margin=0.99))


def test_where_nothing_works_the_risks_are_those_of_that_answer():
    runs = planted_runs({"vpt-deep": {400: 0.1}, "full": {400: 0.1}}, images=1500)
    advice = recommend(runs, 0.01, chance=0.1)
    assert advice.choice == NOTHING_WORKS
    found = codes(Known(advice=advice, margin=0.01, method="vpt-deep"))
    assert found[0] == "risk_used_all_the_same" and "risk_drift" not in found


@pytest.mark.parametrize("name", ["x" * 200, "خدش عميق في السطح"])
def test_a_long_or_foreign_name_is_kept_short_and_apart(name):
    sentence = in_language().sentence(statement("risk_weak_class", name=name, recall=0.4, overall=0.8))
    assert len(sentence) < 130 and sentence.count("\u2068") == sentence.count("\u2069") == (not name.isascii())
