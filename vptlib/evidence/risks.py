"""What can go wrong with a decision, the greatest risk first, and what would catch each.

The order is a rule of this house, by codes and numbers of what is known; no risk is rated by a made-up figure:

    used_all_the_same    nothing works, but somebody may use the best of it
    quick_look           fewer than three seeds
    leak                 groups or duplicates on both sides: the figures flatter
    limit_not_met        a limit is broken
    not_reached          one training may miss the accuracy that is asked for
    limit_open           a limit is not shown to be met
    lot, class           one is clearly worse than all together; or a class was never tested
    another_way          another way may be the right one (where confidence is not high)
    small_input          a larger input was better
    wrong_answers        the share of answers that is wrong
    audit                warnings of the audit about these runs
    labels, images       labels that contradict each other; further warnings about the images
    not_calibrated       probabilities that promise too much or too little
    unseen_lots          no lots or sites are known, so nothing is known of new ones
    blind                differences that the study cannot see
    drift                images that change later: always possible, so it is last
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vptlib.data.findings import Finding
from vptlib.evidence.answers import Answers
from vptlib.evidence.audit import WARNING, AuditFinding
from vptlib.evidence.certainty import calibration, selective
from vptlib.evidence.contest import HIGH, rival_of
from vptlib.evidence.limits import ACCURACY, MET, NOT_MET, UNDECIDED, Tested
from vptlib.evidence.mistakes import about_classes, about_groups
from vptlib.evidence.recommendation import FEWEST_SEEDS, NOTHING_WORKS, Recommendation
from vptlib.statement import Statement, statement

# How right the answers that a model gives by itself may have to be.
WANTED = (0.9, 0.95, 0.99)
LEAST_SHARE = 0.1  # of the answers; where fewer are sure, a person may as well check all
LEAST_CHANCE = 0.05  # that another way is the right one, to be a risk
# Findings of the audit, the one that changes most first.
_AUDIT = ("collapsed", "seeds_diverge", "accuracy_falls", "best_at_last_step", "choice_at_edge")


@dataclass(frozen=True)
class Risk:
    """One thing that can go wrong.

    Attributes:
        what: can go wrong, with its number where one was measured.
        caught_by: what would notice it, or what to do against it.
    """

    what: Statement
    caught_by: Statement


@dataclass(frozen=True)
class Known:
    """What is known of one task when it is decided.

    Attributes:
        advice: the recommendation.
        margin: the smallest difference in accuracy that matters, a fraction.
        method: whose answers these are: the one that is advised, or leads.
        answers: its answers to the test images; None if they are not stored.
        limits: those that were set, tested on these answers.
        bar: accuracy to reach, a fraction; None if none was given.
        chance: that one training of the method reaches it, a fraction; None if that is not known.
        audit: findings of the audit of these runs.
        images: findings about the images.
        larger_input: a finding that a limit keeps the input too small, or None.
    """

    advice: Recommendation
    margin: float
    method: str
    answers: Answers | None = None
    limits: Sequence[Tested] = ()
    bar: float | None = None
    chance: float | None = None
    audit: Sequence[AuditFinding] = ()
    images: Sequence[Finding] = ()
    larger_input: Statement | None = None


def risks(known: Known, most: int = 3) -> list[Risk]:
    """The greatest risks, in the order at the head of this module: `most` of them, or as many as there are."""
    found: list[Risk] = []
    questions = _IF_NOTHING_WORKS if known.advice.choice == NOTHING_WORKS else _QUESTIONS
    for question in questions:
        found += question(known)
        if len(found) >= most:
            break
    return found[:most]


# ---- the decision -----------------------------------------------------------------------------------------------


def _used_all_the_same(known: Known) -> Iterator[Risk]:
    right = _share_right(known)
    if right is not None:
        yield Risk(
            statement("risk_used_all_the_same", method=known.method, accuracy=right), statement("caught_at_promotion")
        )


def _quick_look(known: Known) -> Iterator[Risk]:
    seeds = known.advice.seeds
    if seeds < FEWEST_SEEDS:
        yield Risk(statement("risk_quick_look", seeds=seeds), statement("caught_by_seeds", fewest=FEWEST_SEEDS))


def _another_way(known: Known) -> Iterator[Risk]:
    advice = known.advice
    if not advice.uses or advice.confidence == "high" or advice.seeds < FEWEST_SEEDS:
        return
    rival = rival_of(known.method, list(advice.candidates.values()))
    if rival is not None and rival.right >= LEAST_CHANCE:
        yield Risk(
            statement("risk_another_way", rival=rival.method, probability=rival.right),
            statement("caught_by_deciding_again", n=advice.decide_again_at),
        )


def _claim_is_wrong(known: Known) -> Iterator[Risk]:
    left = 1 - known.advice.probability
    if left > 0 and known.advice.seeds >= FEWEST_SEEDS:
        yield Risk(statement("risk_something_works", probability=left), statement("caught_by_another_study"))


def _blind(known: Known) -> Iterator[Risk]:
    advice = known.advice
    if advice.settles > known.margin and advice.seeds >= FEWEST_SEEDS:
        yield Risk(
            statement("risk_blind", difference=advice.settles, images=advice.images, seeds=advice.seeds),
            statement("caught_by_test_images"),
        )


def _drift(known: Known) -> Iterator[Risk]:
    yield Risk(statement("risk_drift"), statement("caught_by_watching"))


# ---- what was asked ---------------------------------------------------------------------------------------------


def _limit_not_met(known: Known) -> Iterator[Risk]:
    yield from _of_limits(known, NOT_MET)


def _limit_open(known: Known) -> Iterator[Risk]:
    yield from _of_limits(known, UNDECIDED)


def _of_limits(known: Known, verdict: str) -> Iterator[Risk]:
    """The first limit of this verdict; the others are counted."""
    of_verdict = [tested for tested in known.limits if tested.verdict == verdict]
    if not of_verdict:
        return
    first = of_verdict[0]
    about = {"kind": first.limit.kind, "names": list(first.limit.classes), "limit": first.limit.value}
    about |= {"value": first.rate.value if first.rate.cases else None, "group": first.group}
    about |= {"others": len(of_verdict) - 1}
    if verdict == NOT_MET:
        yield Risk(statement("risk_limit_not_met", **about), statement("caught_at_promotion"))
    else:
        images = first.needed
        yield Risk(statement("risk_limit_open", **about), statement("caught_by_more_cases", images=images))


def _not_reached(known: Known) -> Iterator[Risk]:
    if known.bar is not None and known.chance is not None and known.chance < HIGH:
        kept = any(one.limit.kind == ACCURACY and one.limit.value >= known.bar for one in known.limits)
        yield Risk(
            statement("risk_not_reached", bar=known.bar, chance=known.chance),
            statement("caught_at_promotion") if kept else statement("caught_by_a_limit", kind=ACCURACY),
        )


# ---- what the method gets wrong ---------------------------------------------------------------------------------


def _weak_lot(known: Known) -> Iterator[Risk]:
    for found in [] if known.answers is None else about_groups(known.answers):
        if found.code == "worst_group" and found.values["clear"]:
            of_lot = {name: found.values[name] for name in ("group", "accuracy", "overall")}
            yield Risk(statement("risk_weak_lot", **of_lot), statement("caught_by_a_limit", kind="each_group"))


def _weak_class(known: Known) -> Iterator[Risk]:
    if known.answers is None:
        return
    overall = float(known.answers.right.mean())
    for found in about_classes(known.answers):
        if found.code == "worst_class" and found.values["high"] < overall:
            of_class = {name: found.values[name] for name in ("name", "recall")}
            what = statement("risk_weak_class", **of_class, overall=overall)
            kept = any(found.values["name"] in t.limit.classes and t.verdict == MET for t in known.limits)
            if not kept:
                yield Risk(what, statement("caught_by_a_limit", kind="recall"))
        if found.code == "classes_not_tested":
            name, classes = found.values["names"][0], found.values["classes"]
            yield Risk(statement("risk_class_untested", name=name, classes=classes), statement("caught_by_test_images"))


def _wrong_answers(known: Known) -> Iterator[Risk]:
    right = _share_right(known)
    if right is not None and right < 1:
        yield Risk(statement("risk_wrong_answers", wrong=1 - right), _checked_by_people(known))


def _checked_by_people(known: Known) -> Statement:
    """How many answers a person has to check so that the others are right as often as may be."""
    if known.answers is None or known.answers.sure is None:
        return statement("caught_by_checking_all")
    right = known.answers.right.mean()
    found = [selective(known.answers, wanted) for wanted in WANTED if wanted > right]
    possible = [one for one in found if one is not None and one.is_possible and one.share.value >= LEAST_SHARE]
    if not possible:
        return statement("caught_by_checking_all")
    best = possible[-1]
    return statement("caught_by_a_person", checked=1 - best.share.value, accuracy=best.accuracy.value)


def _not_calibrated(known: Known) -> Iterator[Risk]:
    found = None if known.answers is None else calibration(known.answers)
    if found is not None and found.finding().code == "not_calibrated":
        yield Risk(
            statement("risk_not_calibrated", error=found.error, gap=found.gap), statement("caught_by_a_threshold")
        )


def _share_right(known: Known) -> float | None:
    """Share of right answers of the method; None if it is not known."""
    if known.answers is not None:
        return float(known.answers.right.mean())
    candidate = known.advice.candidates.get(known.method)
    return None if candidate is None or np.isnan(candidate.accuracy) else candidate.accuracy


# ---- the study and its images -----------------------------------------------------------------------------------


def _audit(known: Known) -> Iterator[Risk]:
    warnings = [f.what for f in known.audit if f.level == WARNING and f.what.code in _AUDIT]
    warnings = [what for what in warnings if not what.values.get("solved")]  # the edge of a solver's path is no edge
    if warnings:
        worst = min(warnings, key=lambda what: _AUDIT.index(what.code))
        about = {"finding": worst.code, "method": worst.values["method"], "warnings": len(warnings)}
        yield Risk(statement("risk_audit", **about), statement("caught_by_another_run", finding=worst.code))


def _small_input(known: Known) -> Iterator[Risk]:
    if known.larger_input is not None:
        values = known.larger_input.values
        seen = {name: values[name] for name in ("size", "accuracy", "smaller", "smaller_accuracy")}
        yield Risk(statement("risk_small_input", **seen), statement("caught_by_a_larger_input"))


def _leak(known: Known) -> Iterator[Risk]:
    for found in known.images:
        values = found.what.values
        if found.what.code == "groups_on_both_sides":
            what = statement("risk_groups_on_both_sides", tested=values["tested"], test=values["test"])
            yield Risk(what, statement("caught_by_dividing_anew"))
        if found.what.code == "doubles_across" and values["copies"]:
            what = statement("risk_duplicates", copies=values["copies"], tested=values["tested"])
            yield Risk(what, statement("caught_by_dividing_anew"))


def _images(known: Known) -> Iterator[Risk]:
    told = ("groups_on_both_sides", "doubles_across", "classes_without_test", "duplicates_of_different_classes")
    for found in known.images:
        if found.what.code == "duplicates_of_different_classes":
            what = statement("risk_labels_contradict", pairs=found.what.values["pairs"])
            yield Risk(what, statement("caught_by_the_check"))
    others = [found for found in known.images if found.level != "note" and found.what.code not in told]
    if others:
        yield Risk(statement("risk_images", warnings=len(others)), statement("caught_by_the_check"))


def _unseen_lots(known: Known) -> Iterator[Risk]:
    if known.answers is not None and known.answers.groups is None:
        yield Risk(statement("risk_unseen_lots"), statement("caught_by_groups"))


_IF_NOTHING_WORKS = (_used_all_the_same, _quick_look, _leak, _claim_is_wrong, _audit, _small_input, _images, _blind)
_QUESTIONS = (
    _quick_look,
    _leak,
    _limit_not_met,
    _not_reached,
    _limit_open,
    _weak_lot,
    _weak_class,
    _another_way,
    _small_input,
    _wrong_answers,
    _audit,
    _images,
    _not_calibrated,
    _unseen_lots,
    _blind,
    _drift,
)
