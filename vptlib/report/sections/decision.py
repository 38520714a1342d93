"""Page 1 of a report: what to do next, how sure that is, what it costs, what can go wrong, and when to decide again.

It is for readers who do not know the methods and have two minutes. In the notebook of the first page:

    judged = [Judged.of(study, margin, asked) for study in studies]
    display(*decision_page(title, judged, fingerprint))

Its tables and recommendations are `one.runs` and `one.advice` of each. Everything is a statement or a number that other
chapters have too; the next step follows the plan in stages (`vptlib.evidence.stages`), so the two never differ.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from vptlib.data.findings import Finding, worst_first
from vptlib.data.tasks import Task, findings_of
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers, answers_of
from vptlib.evidence.audit import AuditFinding
from vptlib.evidence.contest import rival_of
from vptlib.evidence.costs import seconds_of_a_seed
from vptlib.evidence.curves import learning_curves
from vptlib.evidence.decision import advice_so_far
from vptlib.evidence.limits import (
    FALSE_ALARM_RATE,
    MET,
    MISS_RATE,
    NOT_MET,
    Tested,
    limits_for,
    limits_tested,
    read_limits,
)
from vptlib.evidence.money import Bill, bills
from vptlib.evidence.prices import Prices, Span
from vptlib.evidence.recommendation import (
    FEWEST_SEEDS,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    NO_ANSWER,
    NOTHING_WORKS,
    TRAIN_LONGER,
    Aims,
    Recommendation,
)
from vptlib.evidence.risks import Known, Risk, risks
from vptlib.evidence.stages import LABEL_MORE, OPERATE, OUT_OF_SIGHT, PILOT, STUDY_MORE, Plan, chances, plan
from vptlib.report.decision_charts import decision_figure
from vptlib.report.figure_html import figure
from vptlib.report.judged import doubles_of, kept_small, known_of, report_day
from vptlib.report.macros import filled
from vptlib.report.sections.basic import colours_of
from vptlib.report.sections.layers import anchor
from vptlib.report.told import told_task
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement, statement
from vptlib.study.input_size import sizes_seen
from vptlib.study.material import material_of
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing

DECISION = "decision"  # the anchor of page 1
MOST_LIMITS = 2  # in full; the others are counted
MOST_FIGURES = 4  # tasks whose curves are drawn on page 1


# ---- what is known of one task ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """One task with all that its part of page 1 is made from. What follows from that is worked out once.

    Attributes:
        task: what was asked.
        runs: its table, with at least one run.
        advice: the recommendation for these runs.
        margin: the smallest difference in accuracy that matters, a fraction.
        asked: settings of the report: `accuracy_needed`, `accuracy_today`, `limits` and prices.
        audit: findings of the audit of the runs.
        larger_input: a finding that a limit keeps the input too small, or None.
        doubles: what was found of test images among the labelled ones, or None.
        pixels: side of the square that the models see; None if it is not known.
        probabilities: gives those of a run, `I C` or None, from method, seed and n.
    """

    task: Task
    runs: pd.DataFrame
    advice: Recommendation
    margin: float
    asked: Mapping[str, Any]
    audit: Sequence[AuditFinding] = ()
    larger_input: Statement | None = None
    doubles: Finding | None = None
    pixels: int | None = None
    probabilities: Callable[[str, int, int], np.ndarray | None] | None = None

    @classmethod
    def of(cls, study: Study, margin: float, asked: dict[str, Any]) -> "Judged":
        """Of a study with at least one finished run.

        Args:
            study: with finished runs.
            margin: the smallest difference in accuracy that matters, a fraction.
            asked: settings of the report.

        Raises:
            UserError: the runs cannot be used, or a setting is out of range.
        """
        runs = study.runs()
        known = known_of(study, runs, margin, asked)
        return cls(
            task=told_task(study.task),
            runs=runs,
            advice=advice_so_far(runs, margin, **known),
            margin=margin,
            asked=asked,
            audit=known["findings"],
            larger_input=kept_small(sizes_seen(study)),
            doubles=doubles_of(study).finding(),
            pixels=preprocessing(material_of(study).vit).size,
            probabilities=study.probabilities,
        )

    # ---- the method whose figures are shown ----

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Accuracy by method and size."""
        return learning_curves(self.runs)

    @cached_property
    def images(self) -> list[Finding]:
        """What has to be said of the images, worst first."""
        return worst_first([*findings_of(self.task), *([] if self.doubles is None else [self.doubles])])

    @cached_property
    def method(self) -> str:
        """The one that is advised or leads, else the most accurate one at the largest size."""
        if self.advice.method is not None:
            return self.advice.method
        at = self.curves[self.curves["n"] == self.curves["n"].max()]
        return str(at.sort_values("mean", na_position="first").iloc[-1]["method"])

    @cached_property
    def rival(self) -> str | None:
        """The method that is most probably right if this one is not; None where there is no other."""
        other = rival_of(self.method, self.advice.candidates.values())
        if other is not None:
            return other.method
        return next((method for method in dict.fromkeys(self.runs["method"]) if method != self.method), None)

    @cached_property
    def point(self) -> pd.Series:
        """Its accuracy at its largest size: n, mean, low and high."""
        own = self.curves[self.curves["method"] == self.method]
        return own.loc[own["n"].idxmax()]

    @cached_property
    def answers(self) -> Answers | None:
        """Its answers to the test images; None where they are not stored."""
        if "predictions" not in self.runs or "truth" not in self.runs:
            return None
        names, groups = self.task.class_names, self.task.group_names
        return answers_of(self.runs, self.method, names, None, self.probabilities, groups)

    @cached_property
    def limits(self) -> list[Tested]:
        """The limits of this task, tested; misses and false alarms first, of these the broken ones."""
        if self.answers is None:
            return []
        wanted = limits_for(read_limits(self.asked.get("limits") or {}), self.task.class_names)
        order = (NOT_MET, "undecided", MET)
        tested = limits_tested(self.answers, wanted)
        of_defects = (MISS_RATE, FALSE_ALARM_RATE)
        return sorted(tested, key=lambda one: (one.limit.kind not in of_defects, order.index(one.verdict)))

    # ---- what was asked ----

    @cached_property
    def bar(self) -> float | None:
        """The accuracy to reach; None also for a present way that is never right, which anything reaches."""
        return Aims(needed=self.asked.get("accuracy_needed"), today=self.asked.get("accuracy_today")).bar or None

    def chance(self, accuracy: float | None) -> float | None:
        """That one training of the method reaches an accuracy that was given, a fraction.

        None without one, where anything reaches it, and for a quick look.
        """
        return self._chances.get(accuracy) if accuracy else None

    @cached_property
    def _chances(self) -> dict[float, float]:
        """Of each accuracy that was given."""
        if self.advice.seeds < FEWEST_SEEDS:
            return {}
        n = int(self.point["n"])
        at_n = self.runs[self.runs["n"] == n]
        given = {mark for mark in (self.asked.get("accuracy_needed"), self.asked.get("accuracy_today")) if mark}
        found = {mark: float(chances(at_n, mark).loc[n, self.method]) for mark in given}
        return {mark: chance for mark, chance in found.items() if math.isfinite(chance)}

    @cached_property
    def plan(self) -> Plan:
        """The plan in stages."""
        again, why = self.advice.decide_again_at, self.advice.decide_again_why
        return plan(
            self.runs, self.advice.choice, self.advice.method, needed=self.bar, decide_again_at=again, why_then=why,
            prices=self.prices,
        )  # fmt: skip

    @cached_property
    def prices(self) -> Prices:
        return Prices.among(self.asked)

    @cached_property
    def bills(self) -> dict[str, Bill]:
        """Of each method; empty without prices.

        Raises:
            UserError: the table lacks a figure that a bill needs.
        """
        return bills(self.runs, self.prices)

    @cached_property
    def risks(self) -> list[Risk]:
        """The three greatest, or as many as there are."""
        return risks(
            Known(
                advice=self.advice,
                margin=self.margin,
                method=self.method,
                answers=self.answers,
                limits=self.limits,
                bar=self.bar,
                chance=self.chance(self.bar),
                audit=self.audit,
                images=self.images,
                larger_input=self.larger_input,
            )
        )

    @cached_property
    def step(self) -> Statement:
        """The next step."""
        return _next_step(self)


# ---- 1: the next step -------------------------------------------------------------------------------------------


def _next_step(one: Judged) -> Statement:
    advice, task, stage = one.advice, one.task.title, one.plan.stage
    again, n = advice.decide_again_at, advice.n
    if advice.uses and stage != LABEL_MORE:
        if stage == PILOT:
            return statement("next_pilot", task=task, method=one.method, n=n)
        if stage == OPERATE and one.bar is not None:
            return statement("next_operate", task=task, method=one.method, n=n)
        return statement("next_use", task=task, method=one.method, n=n)
    if advice.uses or advice.choice == MORE_LABELS:
        return statement("next_labels", task=task, now=n, wanted=again, pilot=stage == PILOT)
    if advice.choice == MORE_SEEDS:
        return statement("next_seeds", task=task, now=advice.seeds, wanted=_wanted(advice))
    if advice.choice == MORE_TEST_IMAGES:
        return statement("next_test_images", task=task, now=advice.images, wanted=_wanted(advice))
    return {
        LARGER_INPUT: statement("next_larger_input", task=task),
        TRAIN_LONGER: statement("next_train_longer", task=task),
        NOTHING_WORKS: statement("next_use_none", task=task),
        NO_ANSWER: statement("next_finish", task=task),
    }[advice.choice]


def _wanted(advice: Recommendation) -> int | None:
    """How many seeds or test images a step asks for in all; None where no number follows from the runs."""
    values = advice.reasons[1].values
    return values.get("wanted", values.get("fewest"))


# ---- 2: how sure ------------------------------------------------------------------------------------------------


def how_sure(one: Judged) -> tuple[Statement, float | None]:
    """The sentence, and the probability to be drawn; None where there is none to be said."""
    advice = one.advice
    if advice.choice == NO_ANSWER:
        return statement("not_finished_yet", lacking=advice.reasons[0].values["lacking"]), None
    if advice.seeds < FEWEST_SEEDS:
        seconds = (FEWEST_SEEDS - advice.seeds) * seconds_of_a_seed(one.runs)
        more = seconds if math.isfinite(seconds) else None
        return statement("sure_of_nothing", seeds=advice.seeds, fewest=FEWEST_SEEDS, seconds=more), None
    p = advice.probability
    if math.isnan(p):
        return statement("none_leads_yet"), None
    if advice.choice == NOTHING_WORKS:
        return statement("sure_of_none", level=advice.confidence, probability=p), p
    if not advice.uses:
        return _undecided(one)
    said = advice.reasons[2].values
    if said["claim"] == "reaches":
        return statement("sure_of_reaching", level=advice.confidence, probability=p, bar=said["bar"]), p
    ways = len(advice.candidates)
    return statement("sure_of_use", level=advice.confidence, probability=p, ways=ways, left=said["left"]), p


def _undecided(one: Judged) -> tuple[Statement, float | None]:
    """What is not reached yet; else how far the way leads that does so far."""
    reason, chance = one.advice.reasons[1].code, one.chance(one.bar)
    if reason == "limits_not_kept":
        return statement("none_keeps_limits_yet"), None
    if reason == "not_reached" and chance is not None:
        return statement("sure_of_missing", probability=chance, bar=one.bar), chance
    p = one.advice.probability
    return statement("sure_so_far", method=one.method, probability=p), p


# ---- 3: against today's way of working --------------------------------------------------------------------------


def against_today(one: Judged) -> list[Statement]:
    """Accuracy next to what is had today and what is needed, limits, or what to give so that this can be said."""
    today, needed = one.asked.get("accuracy_today"), one.asked.get("accuracy_needed")
    found = []
    if math.isfinite(one.point["mean"]):
        ends = {end: float(one.point[end]) for end in ("low", "high")}
        accuracy, n = float(one.point["mean"]), int(one.point["n"])
        found.append(statement("right_in_test", method=one.method, accuracy=accuracy, **ends, n=n))
    if today is not None:
        found.append(statement("against_today", today=today, chance=one.chance(today)))
    if needed is not None:
        found.append(statement("against_needed", needed=needed, chance=one.chance(needed)))
    found += _limits_on_page(one.limits)
    given = {"accuracy_today": today, "accuracy_needed": needed, "limits": one.asked.get("limits") or None}
    lacking = [name for name, value in given.items() if value is None]
    return [*found, *([statement("nothing_to_compare_with", lacking=lacking)] if lacking else [])]


def _limits_on_page(limits: Sequence[Tested]) -> list[Statement]:
    shown, others = limits[:MOST_LIMITS], limits[MOST_LIMITS:]
    found = [
        statement(
            "limit_on_page", kind=one.limit.kind, names=list(one.limit.classes), limit=one.limit.value,
            value=one.rate.value if one.rate.cases else None, verdict=one.verdict, group=one.group,
        )
        for one in shown
    ]  # fmt: skip
    not_kept = sum(one.verdict != MET for one in others)
    return [*found, *([statement("further_limits", limits=len(others), not_kept=not_kept)] if others else [])]


# ---- 4: cost ----------------------------------------------------------------------------------------------------

Amount = tuple[str, str]  # as likely, and from where to where


@dataclass(frozen=True)
class Costs:
    """What the way costs, and its rival.

    Attributes:
        heads: of the columns.
        rows: name of the way, now, in a year; each of the two an amount and its range, or "" where it has none.
        notes: sentences below.
    """

    heads: tuple[str, str, str]
    rows: list[tuple[str, Amount, Amount]]
    notes: list[str]


def costs_of(one: Judged) -> Costs:
    """In money where there are prices, else in computing time and storage."""
    if one.advice.choice == NOTHING_WORKS:
        return Costs(("", "", ""), [], [words.sentence(statement("costs_of_none"))])
    ways = [one.method, *([one.rival] if one.rival else [])]
    step = [words.sentence(found) for found in _step_costs(one)]
    try:
        found = one.bills
    except UserError as error:
        return Costs(("", "", ""), [], [*step, str(error)])
    if not found:
        heads = (_("Way"), _("Computing now"), _("Storage"))
        rows = [(words.short_way(way), *_in_kind(one.runs, way)) for way in ways]
        return Costs(heads, rows, [*step, words.sentence(statement("costs_without_prices"))])
    heads = (_("Way"), _("Now, once"), _("In a year"))
    rows = [(words.short_way(way), _amount(found[way].once), _amount(found[way].yearly)) for way in ways]
    assumed = sum(not one.prices.given(name) for name in one.prices.known())
    planned, unit = one.prices.of("tasks_planned").likely, one.asked.get("currency", "")
    note = statement("costs_in_money", tasks=planned, assumed=assumed, unit=unit)
    return Costs(heads, rows, [*step, words.sentence(note)])


def _amount(span: Span) -> Amount:
    low, likely, high = map(words.money, span)
    return likely, words.span(low, high) if low != high else ""


def _in_kind(runs: pd.DataFrame, method: str) -> tuple[Amount, Amount]:
    """Computing time of a training with its tuning, and storage for a task; a dash where it is not known."""
    own = runs[(runs["method"] == method)]
    at = own[own["n"] == own["n"].max()]
    seconds, stored = float(at["tuning_seconds"].max()), float(at["bytes_per_task"].median())
    return (
        (words.duration(seconds) if math.isfinite(seconds) else "–", ""),
        (words.storage(stored) if math.isfinite(stored) else "–", ""),
    )


def _step_costs(one: Judged) -> list[Statement]:
    """What a step that asks for more takes, where its amount is known."""
    advice, values = one.advice, one.advice.reasons[1].values if len(one.advice.reasons) > 1 else {}
    price = one.prices.of("label_price").likely if one.prices.priced else None
    if advice.choice == MORE_SEEDS and values.get("seconds") is not None and math.isfinite(values["seconds"]):
        return [statement("step_takes_time", seconds=values["seconds"])]
    if advice.choice == MORE_TEST_IMAGES and values.get("wanted"):
        more, training = values["wanted"] - advice.images, False
    elif one.step.code == "next_labels" and advice.decide_again_at is not None:
        more, training = advice.decide_again_at - advice.n, True
    else:
        return []
    cost = None if price is None else more * price
    return [statement("step_takes_images", images=more, price=cost, training=training)] if more > 0 else []


# ---- 6: decide again --------------------------------------------------------------------------------------------


def decide_again(one: Judged) -> list[Statement]:
    """When, how the labels for it come together, and who decides."""
    advice = one.advice
    why = "change" if advice.choice == NOTHING_WORKS else getattr(advice.decide_again_why, "code", "")
    wait = one.plan.stage == STUDY_MORE
    when = statement("decide_again_when", n=advice.decide_again_at, why=why, wait=wait)
    collected = [stage for stage in one.plan.stages if stage.code == "collect"]
    return [when, *collected, statement("who_decides")]


# ---- 8: the figure ----------------------------------------------------------------------------------------------


def curves_of(one: Judged, low: bool = False) -> HTML:
    """Learning curves with the accuracy asked and that of today; the caption says how they stand.

    Args:
        one: a task.
        low: whether it shares a sheet of paper with those of other tasks.
    """
    needed, today = one.asked.get("accuracy_needed"), one.asked.get("accuracy_today")
    at = one.curves[one.curves["n"] == one.point["n"]]
    best = at.loc[at["mean"].idxmax()] if at["mean"].notna().any() else one.point
    said = statement(
        "curve_says", method=one.method, accuracy=float(one.point["mean"]), n=int(one.point["n"]),
        best=str(best["method"]), best_accuracy=float(best["mean"]), needed=needed, today=today, pixels=one.pixels,
        sizes=int(one.curves["n"].nunique()),
    )  # fmt: skip
    caption = words.sentence(said)
    alt = _("Accuracy on the test images against the number of labelled images. {finding}").format(finding=caption)
    return figure(lambda: decision_figure(one.curves, needed, today, low), caption, alt, one.curves, "accuracy")


# ---- the page ---------------------------------------------------------------------------------------------------


def decision_page(title: str, judged: Sequence[Judged], fingerprint: str) -> list[HTML]:
    """Page 1 of a report on one task or several.

    Args:
        title: of the report.
        judged: the tasks, at least one.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the report's summary.json; "" if there is none yet.
    """
    cards = [_card(one, number, len(judged) > 1) for number, one in enumerate(judged)]
    about = {"version": version("vptlib"), "day": words.day(report_day()), "fingerprint": fingerprint}
    shared = {"title": title, "anchor": DECISION, "scope": _scope(judged), "approval": about}
    if len(judged) == 1:
        return [_part("one_task", card=cards[0], **shared)]
    overall = words.sentence(over_tasks(judged))
    costs = [card["costs"].notes[-1] for card in cards if card["costs"].rows]  # what the sums are is the same for all
    shared["approval"] = about | {"who": words.sentence(statement("who_decides"))}
    rows = [_row(one) for one in judged]
    return [_part("several_tasks", overall=overall, rows=rows, money="".join(costs[:1]), cards=cards, **shared)]


def over_tasks(judged: Sequence[Judged]) -> Statement:
    """What is the next step for which tasks, and which share of the answers is expected to be wrong.

    That share is the mean of what their probabilities leave (Efron, Large-Scale Inference, 2010, section 2.2): it holds
    however many tasks are looked at. It is not said of one answer, or where a quick look stands behind one.
    """
    answered = [one.advice for one in judged if one.advice.uses or one.advice.choice == NOTHING_WORKS]
    quick = any(advice.seeds < FEWEST_SEEDS for advice in answered)
    wrong = float(np.mean([1 - advice.probability for advice in answered])) if len(answered) > 1 and not quick else None
    steps: dict[tuple[str, str | None], list[str]] = {}
    for one in judged:
        steps.setdefault((one.step.code, one.step.values.get("method")), []).append(one.task.title)
    if len(steps) == 1:
        ((step, method),) = steps
        return statement("tasks_agree", tasks=len(judged), step=step, method=method, wrong=wrong)
    commonest = sorted(steps.items(), key=lambda item: -len(item[1]))
    listed = [{"step": step, "method": method, "titles": titles} for (step, method), titles in commonest]
    return statement("tasks_differ", tasks=len(judged), steps=listed, wrong=wrong)


def _scope(judged: Sequence[Judged]) -> list[str]:
    """Date, and what the study had."""
    sizes = [int(n) for one in judged for n in (one.runs["n"].min(), one.runs["n"].max())]
    ends = [words.whole(n) for n in dict.fromkeys((min(sizes), max(sizes)))]
    many = [_("Tasks: {n}").format(n=words.whole(len(judged)))] if len(judged) > 1 else []
    seeds = min(one.advice.seeds for one in judged)
    quick = [_("A quick look")] if seeds < FEWEST_SEEDS else []
    images = list(dict.fromkeys(one.advice.images for one in judged))
    tested = [_("Test images: {n}").format(n=words.whole(images[0]))] if len(images) == 1 else []
    return [
        words.day(report_day()),
        *many,
        _("Labelled images: {n}").format(n=words.span(*ends) if len(ends) > 1 else ends[0]),
        *tested,
        *quick,
    ]


def _card(one: Judged, number: int, several: bool) -> dict[str, Any]:
    """All of one task, in sentences."""
    sure, probability = how_sure(one)
    return {
        "title": one.task.title,
        "anchor": anchor(one.task.name),
        "colours": colours_of(one.advice),
        "step": words.sentence(one.step),
        "sure": words.sentence(sure),
        "probability": probability,
        "chance": _in_the_picture(probability),
        "against": [words.sentence(found) for found in against_today(one)],
        "costs": costs_of(one),
        "risks": [(words.sentence(risk.what), words.sentence(risk.caught_by)) for risk in one.risks],
        "again": [words.sentence(found) for found in decide_again(one)],
        "figure": curves_of(one, several).data if number < MOST_FIGURES else "",
    }


def _in_the_picture(probability: float | None) -> str:
    """The ten figures in words; "" without them."""
    if probability is None:
        return ""
    return _("Chance: {chance}").format(chance=words.in_ten(probability))


def _row(one: Judged) -> dict[str, str]:
    """One task's row of the table over several."""
    point, probability = one.point, how_sure(one)[1]
    known = math.isfinite(point["mean"])
    ends = words.span(words.number(100 * point["low"], 1), words.number(100 * point["high"], 1)) if known else ""
    accuracy = _("{value} ({interval})").format(value=words.per_cent(point["mean"]), interval=ends) if known else "–"
    again = one.advice.decide_again_at
    return {
        "title": one.task.title,
        "anchor": anchor(one.task.name),
        "step": words.step_in_short(one.step.code, one.step.values.get("method")),
        "sure": _sure_in_short(one.advice, probability),
        "accuracy": accuracy,
        "asked": _against_asked(one),
        "cost": _cost_in_short(one),
        "again": "–" if again is None or one.plan.stage in (STUDY_MORE, OUT_OF_SIGHT) else words.whole(again),
    }


def _sure_in_short(advice: Recommendation, probability: float | None) -> str:
    """The chance of an answer; that of a way which only leads so far would read like one."""
    if advice.choice != NO_ANSWER and advice.seeds < FEWEST_SEEDS:
        return _("quick look")
    decided = advice.uses or advice.choice == NOTHING_WORKS
    return words.in_ten(probability) if decided and probability is not None else _("not decided")


def _against_asked(one: Judged) -> str:
    if one.bar is None:
        return _("not asked")
    chance = one.chance(one.bar)
    reached = "–" if chance is None else words.share(chance)
    return _("{bar}: {chance}").format(bar=words.per_cent(one.bar, 0), chance=reached)


def _cost_in_short(one: Judged) -> str:
    """Of the way: in money where there are prices, else computing and storage."""
    found = costs_of(one)
    if not found.rows:
        return "–"
    _way, (now, _now_range), (later, _later_range) = found.rows[0]
    text = _("{now} now, {year} in a year") if one.prices.priced else _("{now} of computing, {year} stored")
    return text.format(now=now, year=later)


def _part(name: str, **values: Any) -> HTML:
    return filled("decision.html.j2", name, **values)
