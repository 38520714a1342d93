"""The plan of a report in four stages, as boxes with this study's numbers: try, operate, collect, decide again."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.prices import Prices
from vptlib.evidence.recommendation import Recommendation
from vptlib.evidence.stages import LABEL_MORE, OPERATE, OUT_OF_SIGHT, PILOT, STUDY_MORE, Plan, plan
from vptlib.report.judged import report_day
from vptlib.report.sections.basic import part
from vptlib.report.sections.money import bar_of
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement

# Head, figure, what the figure measures, sentence, whether it is the stage to act on.
_Box = tuple[str, str, str, str, bool]
# The first stage is not over, so it is the one to act on.
_NOT_YET = (LABEL_MORE, STUDY_MORE, OUT_OF_SIGHT)


def plan_part(runs: pd.DataFrame, asked: Mapping[str, Any], advice: Recommendation) -> list[HTML]:
    """The plan in four boxes: what was tried, what to do now, what to collect, when to decide again.

    Args:
        runs: one task's table.
        asked: settings of the report: `accuracy_needed`, `accuracy_today` and prices.
        advice: the recommendation for these runs.
    """
    found = plan(
        runs,
        advice.choice,
        advice.method,
        needed=bar_of(asked),
        decide_again_at=advice.decide_again_at,
        why_then=advice.decide_again_why,
        prices=Prices.among(asked),
    )
    tried, now, *collecting, again = found.stages
    return [
        part("stages", boxes=[_tried(tried, found), _operate(now, found), _collect(collecting), _again(again, advice)])
    ]


def _tried(tried: Statement, found: Plan) -> _Box:
    labels = words.whole(tried.values["n"])
    return _("PoC"), labels, _("labelled images at most"), words.sentence(tried), found.stage in _NOT_YET


def _operate(now: Statement, found: Plan) -> _Box:
    head = {OPERATE: _("Operate"), PILOT: _("Pilot, then operate")}.get(found.stage, _("Operate: not yet"))
    chance = now.values.get("chance")
    figure = "" if chance is None else words.share(chance)
    unit = _("chance that one training reaches {needed}").format(
        needed=words.per_cent(now.values["needed"], 0) if chance is not None else ""
    )
    return head, figure, unit, words.sentence(now), found.stage not in _NOT_YET


def _collect(collecting: list[Statement]) -> _Box:
    if not collecting:
        return _("Collect"), "", "", _("Nothing is to be collected before the study is finished or changed."), False
    (more,) = collecting
    text = words.sentence(more)
    if "months" in more.values:
        then = (pd.Timestamp(report_day()) + pd.DateOffset(months=more.values["months"])).date()
        text = words.sentences(text, _("That is around {day}.").format(day=words.day(then)))
    return _("Collect"), words.whole(more.values["labels"]), _("further labelled images"), text, False


def _again(again: Statement, advice: Recommendation) -> _Box:
    labels = "" if "n" not in again.values else words.whole(again.values["n"])
    return _("Decide again"), labels, _("labelled images"), words.sentence(again), False
