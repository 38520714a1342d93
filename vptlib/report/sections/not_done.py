"""What a report does not show, read off the facts of its study, and how to get it."""

from collections.abc import Sequence

from IPython.display import HTML

from vptlib.evidence.recommendation import FEWEST_SEEDS
from vptlib.explanations.checklist import YES, Row
from vptlib.report.sections.basic import facts
from vptlib.report.sections.decision import Judged
from vptlib.report.sections.explained import explanations_lacking
from vptlib.report.sections.field import condition_of, none_asked
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.study.study import Study
from vptlib.study.time_budget import left_out
from vptlib.tuning.methods import METHODS


def not_done_part(
    study: Study, one: Judged, conditions: Sequence[dict], rows: Sequence[Row] | None = None
) -> list[HTML]:
    """Label and sentence for each thing that was not done.

    Args:
        study: that the runs are of.
        one: what is known of the task.
        conditions: harder ones that were asked for.
        rows: of the explainability checklist; None where the maps were not examined.
    """
    return [
        facts(
            _runs(study)
            | _conditions(study, conditions)
            | _asked(one)
            | _images(one)
            | _explanations(rows)
            | _beyond(study)
        )
    ]


def _runs(study: Study) -> dict[str, str]:
    missing, found = study.missing(), {}
    if missing:
        found[_("Runs")] = words.sentence(left_out(missing))
    if len(study.seeds) < FEWEST_SEEDS:
        text = _("Seeds: {n}. With fewer than {fewest} the luck of a training is hardly seen. Give more seeds.")
        found[_("Repetitions")] = text.format(n=len(study.seeds), fewest=FEWEST_SEEDS)
    if len(study.sizes) == 1:
        found[_("Labels")] = _(
            "One number of labelled images was run, so nothing is known of what more or fewer would give. Give more "
            "sizes."
        )
    return found


def _conditions(study: Study, conditions: Sequence[dict]) -> dict[str, str]:
    if not conditions:
        return {_("Harder conditions"): none_asked()}
    missing = [one for one in (study.under(**changes) for changes in conditions) if one.missing()]
    not_run = _("Not finished: {conditions}").format(conditions=words.sentences(*map(condition_of, missing)))
    return {_("Harder conditions"): not_run} if missing else {}


def _asked(one: Judged) -> dict[str, str]:
    found = {}
    if one.bar is None:
        found[_("Accuracy needed")] = _(
            "Not given, so whether the best is good enough is not judged. Give accuracy_needed or accuracy_today."
        )
    if not one.asked.get("limits"):
        found[_("Limits")] = _(
            "None were set before the runs, so no limit of misses or false alarms was tested. Give limits."
        )
    if not one.prices.priced:
        found[_("Prices")] = _("None were given, so nothing is said about money. Give label_price.")
    return found


def _images(one: Judged) -> dict[str, str]:
    if one.task.test_groups is not None:
        return {}
    text = _(
        "The images name no lot, site or group, so nothing shows how the method does on a new one. Give a column of "
        "groups."
    )
    return {_("Lots and sites"): text}


def _explanations(rows: Sequence[Row] | None) -> dict[str, str]:
    if rows is None:
        return {_("Explanations"): explanations_lacking()}
    failed = [words.QUESTIONS[row.question] for row in rows if row.verdict != YES]
    if not failed:
        return {}
    text = _("Not shown, so the pictures are no proof: {questions}")
    return {_("Explanations"): text.format(questions=words.questions(failed))}


def _beyond(study: Study) -> dict[str, str]:
    others = [words.in_prose(method) for method in METHODS if method not in study.methods]
    found = {
        _("Other backbones"): _("One backbone was compared: {name}. Another one can change the order.").format(
            name=study.backbone
        ),
        _("Doubles"): _(
            "Only images that this study used were searched for doubles. This searches all: {command}"
        ).format(command="vpt data check"),
    }
    if others:
        found[_("Other methods")] = _("Not compared: {methods}.").format(methods=words.listed(others))
    return found
