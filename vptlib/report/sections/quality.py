"""The part of a report for quality departments: which section speaks to which part of a guideline, and checklists.

What was done is decided from the facts of the study alone (`vptlib.report.quality_facts`). A row is empty where nothing
was done. It is a help for finding things, and no judgement of the study.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from vptlib.data.findings import Finding
from vptlib.evidence.audit import WARNING
from vptlib.evidence.limits import NOT_MET, UNDECIDED
from vptlib.evidence.recommendation import FEWEST_SEEDS, MORE_TEST_IMAGES, NO_ANSWER, Recommendation
from vptlib.evidence.stages import OPERATE, PILOT
from vptlib.report.macros import filled
from vptlib.report.quality_facts import Done, facts_of
from vptlib.report.quality_map import (
    BY_CLASS,
    BY_GROUP,
    GUIDELINES,
    PLANT,
    Guideline,
    Item,
    Named,
    Source,
)
from vptlib.report.sections.basic import heading, paragraph
from vptlib.report.sections.layers import EXPLANATIONS, QUALITY, layer_anchor, layer_titles
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement, statement
from vptlib.study.study import Study

DONE, OPEN, NOT_DONE = STATES = ("done", "open", "not-done")
_SIGNS = {DONE: "✓", OPEN: "?", NOT_DONE: "✗"}
_JAPANESE = "ja"
_Facts = Mapping[str, list[Statement]]


def quality_part(
    study: Study,
    runs: pd.DataFrame,
    advice: Recommendation,
    asked: Mapping[str, Any],
    known: Mapping[str, Any],
    conditions: Sequence[Mapping[str, Any]] = (),
    explained: int | None = None,
    doubles: Finding | None = None,
) -> list[HTML]:
    """Heading, what it is and what it is not; then, folded: checklists, maps, a record, and the sources.

    Args:
        study: that the runs are of.
        runs: from `study.runs()`.
        advice: the recommendation for these runs.
        asked: settings of the report, as for `vptlib.report.judged.known_of`.
        known: from `vptlib.report.judged.known_of`.
        conditions: harder ones, as in the YAML file; those whose runs are missing count as not run.
        explained: test images whose maps were examined; None where none were.
        doubles: what was found of test images among the labelled ones; None where they were not searched.
    """
    done = Done(study, runs, advice, asked, known, conditions, explained, doubles)
    facts, task = facts_of(done), study.task
    return [
        heading(_("For quality departments"), 3, layer_anchor(task, QUALITY)),
        paragraph(disclaimer()),
        *(_checklist(task, head, checks) for head, checks in checklists(done, facts)),
        *(_map(task, guideline, facts) for guideline in GUIDELINES),
        _map(task, PLANT, facts, record=True),
        _sources([guideline.source for guideline in (*GUIDELINES, PLANT)]),
    ]


def disclaimer() -> str:
    """What this part is, and what it is not: the only place that speaks of conformity."""
    return _(
        "This part helps to find what a guideline asks about. It does not claim that anything conforms to, or complies "
        "with, a guideline or a standard. What was done comes from the records of this study; a row for which nothing "
        "was done says so."
    )


# ---- checklists -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One row of a checklist.

    Attributes:
        state: one of `STATES`.
        because: what was found, with its numbers.
        layer: of the report, where more stands; "" for none.
    """

    question: str
    state: str
    because: list[Statement]
    layer: str = ""


def checklists(done: Done, facts: _Facts) -> list[tuple[str, list[Check]]]:
    """Head and rows of each checklist: roles, test standards, governance, explainability.

    Args:
        done, facts: of a study (`vptlib.report.quality_facts`).
    """
    return [
        (_("Roles: who does what next"), _roles(done)),
        (_("Test standards"), _standards(done, facts)),
        (_("Governance"), _governance(done, facts)),
        (_("Explainability"), _explainability(facts)),
    ]


def _roles(done: Done) -> list[Check]:
    wrong = int((np.mean(np.stack(list(done.last["correct"])), axis=0) < 0.5).sum())
    made = statement("quality_runs_made", runs=len(done.runs), missing=done.missing)
    answers = done.plan.stage in (OPERATE, PILOT)
    operator = statement("quality_operator", pilot=done.plan.stage == PILOT)
    return [
        Check(_("Approver: has the next step been approved?"), OPEN, [done.plan.headline]),
        Check(_("Engineer: are all planned runs made?"), OPEN if done.missing else DONE, [made]),
        Check(
            _("Domain expert: has each wrong answer been looked at?"),
            OPEN if wrong else DONE,
            [statement("quality_wrong", wrong=wrong, images=done.images)],
        ),
        Check(
            _("Operator: is it settled who acts on an answer?"),
            OPEN if answers else NOT_DONE,
            [operator if answers else statement("quality_nothing_runs")],
        ),
    ]


def _standards(done: Done, facts: _Facts) -> list[Check]:
    settles = None if math.isnan(done.advice.settles) else float(done.advice.settles)
    too_few = done.advice.choice in (MORE_TEST_IMAGES, NO_ANSWER)
    return [
        Check(
            _("Are the test images enough for an answer?"),
            OPEN if too_few else DONE,
            [statement("quality_test_images", images=done.images, settles=settles)],
        ),
        Check(
            _("Was the training repeated often enough?"),
            DONE if done.seeds >= FEWEST_SEEDS else OPEN if done.seeds > 1 else NOT_DONE,
            [statement("quality_seeds", seeds=done.seeds, wanted=FEWEST_SEEDS)],
        ),
        Check(
            _("Do the intervals hold for another training, too?"),
            DONE if done.seeds > 1 else OPEN,
            [statement("quality_intervals", groups=bool(done.groups), seeds=done.seeds)],
        ),
        _asked_before(facts),
        _all_met(done, facts),
        Check(
            _("Were harder conditions tested?"),
            DONE if facts["conditions"] else NOT_DONE,
            facts["conditions"] or [statement("quality_no_conditions")],
        ),
        _groups_apart(done),
    ]


def _asked_before(facts: _Facts) -> Check:
    asked = [*facts["asked_accuracy"], *facts["asked_today"], *facts["asked_limits"]]
    question = _("Was it said before the test what has to be reached?")
    return Check(question, DONE if asked else NOT_DONE, asked or [statement("quality_nothing_asked")])


def _all_met(done: Done, facts: _Facts) -> Check:
    verdicts = {tested.verdict for tested in done.tested}
    state = NOT_DONE if not verdicts or NOT_MET in verdicts else OPEN if UNDECIDED in verdicts else DONE
    return Check(_("Are all limits met?"), state, facts["limits"] or [statement("quality_no_limits")])


def _groups_apart(done: Done) -> Check:
    question = _("Are lots or sites kept apart in training and test?")
    if not done.groups:
        return Check(question, NOT_DONE, [statement("quality_no_groups")])
    because = statement("quality_groups_apart", groups=done.groups, shared=done.groups_shared)
    return Check(question, OPEN if done.groups_shared else DONE, [because])


def _governance(done: Done, facts: _Facts) -> list[Check]:
    return [
        Check(_("Are data and versions recorded?"), DONE, facts["versions"]),
        Check(_("Is the audit of the runs without warnings?"), OPEN if done.audited[WARNING] else DONE, facts["audit"]),
        Check(_("Is the licence of the images known?"), DONE if done.licence else OPEN, facts["origin"]),
        Check(_("Has this report been reviewed and approved?"), OPEN, [statement("quality_approval")]),
        _again(done.advice.decide_again_at),
        Check(
            _("Were limits for promotion set?"),
            DONE if facts["promotion"] else NOT_DONE,
            facts["promotion"] or [statement("quality_no_promotion")],
        ),
        Check(_("Is monitoring set up?"), NOT_DONE, [statement("quality_monitoring")]),
    ]


def _again(n: int | None) -> Check:
    question = _("Is it known when to decide again?")
    if n is None:
        return Check(question, OPEN, [statement("quality_decides_when_finished")])
    return Check(question, DONE, [statement("quality_decide_again", n=n)])


def _explainability(facts: _Facts) -> list[Check]:
    question, because = _("Were the maps of what the models look at examined?"), facts["explanations"]
    if because:
        return [Check(question, DONE, because, EXPLANATIONS)]
    return [Check(question, NOT_DONE, [statement("quality_no_explanations")])]


def _checklist(task: str, head: str, checks: list[Check]) -> HTML:
    states = {DONE: _("done"), OPEN: _("open"), NOT_DONE: _("not done")}
    rows = [
        {
            "question": check.question,
            "state": check.state,
            "says": f"{_SIGNS[check.state]} {states[check.state]}",
            "sentences": _sentences(check.because),
            "links": _links(task, (check.layer,) if check.layer else ()),
        }
        for check in checks
    ]
    counts = [
        _("{n} {state}").format(n=words.whole(sum(check.state == state for check in checks)), state=said)
        for state, said in states.items()
    ]
    return _macro("checklist", head=head, count=words.listed(counts), rows=rows)


# ---- maps -------------------------------------------------------------------------------------------------------


def done_for(item: Item, facts: _Facts) -> list[Statement]:
    """What was done for an item, in the order of its facts; nothing where nothing was."""
    return [found for name in item.facts for found in facts[name]]


def _map(task: str, guideline: Guideline, facts: _Facts, record: bool = False) -> HTML:
    """The items with what was done; as a record, with what was asked for before the test, too."""
    heads = [(_name(head), [_row(task, item, facts) for item in items]) for head, items in guideline.heads]
    title, count = _title(guideline.source), _count(guideline, facts)
    return _macro("map", head=title, count=count, heads=heads, record=record)


def _row(task: str, item: Item, facts: _Facts) -> dict[str, Any]:
    each = {BY_CLASS: _("by class"), BY_GROUP: _("by lot, site or patient")}.get(item.each, "")
    found = done_for(item, facts)
    return {
        "number": item.number,
        "name": _name(item.name),
        "each": each,
        "sentences": _sentences(found),
        "never": not item.facts,
        "asked": _sentences([one for name in item.asked for one in facts[name]]),
        "links": _links(task, item.layers) if found else [],
    }


def _count(guideline: Guideline, facts: _Facts) -> str:
    filled = sum(bool(done_for(item, facts)) for item in guideline.items)
    return _("{n} of {all} rows have an entry").format(n=words.whole(filled), all=words.whole(len(guideline.items)))


def _sentences(found: list[Statement]) -> list[str]:
    return [words.sentence(one) for one in found]


def _links(task: str, layers: Sequence[str]) -> list[tuple[str, str]]:
    titles = layer_titles()
    return [(layer_anchor(task, layer), titles[layer]) for layer in layers]


# ---- names and sources ------------------------------------------------------------------------------------------


def _name(name: Named) -> dict[str, dict[str, str] | None]:
    """The name that a reader sees first, the other one behind it, and the language of both."""
    english, original = {"text": name.english, "lang": "en"}, {"text": name.original, "lang": "ja"}
    if words.code == _JAPANESE:
        return {"first": original if name.original else english, "second": None}
    return {"first": english, "second": original if name.original not in ("", name.english) else None}


def _title(source: Source) -> str:
    return source.title.original if words.code == _JAPANESE else source.title.english


def _sources(sources: Sequence[Source]) -> HTML:
    entries = [
        {
            "title": _name(source.title),
            "publisher": _name(source.publisher),
            "edition": _name(source.edition),
            "year": str(source.year or ""),
        }
        for source in sources
    ]
    return _macro("sources", entries=entries)


def _macro(name: str, **values: Any) -> HTML:
    return filled("quality.html.j2", name, **values)
