"""What a reader should know first: each finding in a line, with its level and a link to the section that shows it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from IPython.display import HTML

from vptlib.evidence.audit import WARNING
from vptlib.evidence.limits import MET, NOT_MET, Tested
from vptlib.evidence.recommendation import FEWEST_SEEDS, Recommendation
from vptlib.explanations.checklist import NO, Row
from vptlib.report.fonts import missing, packages_for
from vptlib.report.sections.audit import in_lines, of_one_kind
from vptlib.report.sections.basic import heading, part
from vptlib.report.sections.decision import Judged
from vptlib.report.sections.inspection import limit_of
from vptlib.report.sections.layers import (
    DATA,
    EXPLANATIONS,
    MISTAKES,
    NOT_DONE,
    PROTOCOL,
    layer_anchor,
    layer_titles,
)
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import statement
from vptlib.study.study import Study
from vptlib.study.time_budget import left_out

SERIOUS, WARN, NOTED, FINE = "serious", "warn", "noted", "fine"
MOST_LETTERS = 20  # without a font, that are named
# Level, sentence, and the layer that shows it.
Alert = tuple[str, str, str]


def alerts_part(study: Study, one: Judged, rows: Sequence[Row] = ()) -> list[HTML]:
    """The findings about a task, the gravest first; where there is none, that nothing was found.

    Args:
        study: that the runs are of.
        one: what is known of the task.
        rows: of the explainability checklist; none where the maps were not examined.
    """
    names = {SERIOUS: _("Serious"), WARN: _("Warning"), NOTED: _("Note"), FINE: _("No warning")}
    titles, order = layer_titles(), list(names)
    found = sorted(alerts(study, one, rows), key=lambda alert: order.index(alert[0]))
    items = [
        (level, names[level], text, layer_anchor(study.task, layer), titles[layer]) for level, text, layer in found
    ]
    return [part("alerts", items=items)]


def reasons_part(advice: Recommendation) -> list[HTML]:
    """Heading, and the reasons of a recommendation, with what would change it; none that was not measured."""
    said = [*advice.reasons, *([advice.would_change] if advice.would_change is not None else [])]
    said = [one for one in said if _is_measured(one.values.values())]
    return [heading(_("The reasons for the answer")), part("sentences", items=[words.sentence(one) for one in said])]


def _is_measured(values: Iterable[Any]) -> bool:
    """Whether no number among the values is NaN, also in lists."""
    return all(
        _is_measured(value) if isinstance(value, list) else not (isinstance(value, float) and math.isnan(value))
        for value in values
    )


def alerts(study: Study, one: Judged, rows: Sequence[Row] = ()) -> list[Alert]:
    """Arguments as for `alerts_part`."""
    found = [
        *_of_limits(one),
        *_of_the_study(study, one),
        *_of_the_audit(one),
        *_of_the_images(one),
        *_of_the_fonts(one),
        *_of_the_maps(rows),
    ]
    grave = any(level in (SERIOUS, WARN) for level, _text, _layer in found)
    return found if grave else [*found, (FINE, words.audit_is_clean(), PROTOCOL)]


def _of_limits(one: Judged) -> list[Alert]:
    return [
        (SERIOUS if tested.verdict == NOT_MET else WARN, _of_limit(tested), MISTAKES)
        for tested in one.limits
        if tested.verdict != MET
    ]


def _of_limit(tested: Tested) -> str:
    return _("{limit}. {finding}").format(limit=limit_of(tested), finding=words.sentence(tested.finding()))


def _of_the_study(study: Study, one: Judged) -> list[Alert]:
    found = []
    if missing := study.missing():
        found.append((WARN, words.sentence(left_out(missing)), NOT_DONE))
    if one.advice.seeds == 1:
        found.append((WARN, words.sentence(statement("one_seed")), PROTOCOL))
    elif one.advice.seeds < FEWEST_SEEDS:
        text = _("A quick look: {seeds} seeds are fewer than the {fewest} that a choice needs.")
        found.append((WARN, text.format(seeds=one.advice.seeds, fewest=FEWEST_SEEDS), PROTOCOL))
    if one.larger_input is not None:
        found.append((WARN, words.sentence(one.larger_input), DATA))
    return found


def _of_the_audit(one: Judged) -> list[Alert]:
    warnings = [finding for finding in one.audit if finding.level == WARNING]
    return [(WARN, text, PROTOCOL) for same in of_one_kind(warnings) for text in in_lines(same)]


def _of_the_images(one: Judged) -> list[Alert]:
    found = one.images
    levels = {"error": SERIOUS, "warning": WARN}
    said = [(levels[each.level], words.sentence(each.what), DATA) for each in found if each.level in levels]
    notes = len(found) - len(said)
    if notes:
        said.append((NOTED, _("Notes on how the images were read: {n}.").format(n=notes), DATA))
    return said


def _of_the_fonts(one: Judged) -> list[Alert]:
    """Letters of class names that figures show as boxes, because no font on this machine has them."""
    letters = missing([one.task.title, *one.task.class_names])
    if not letters:
        return []
    text = _("No font here has the letters {letters}, so figures show boxes. Install {packages} and make it again.")
    return [(WARN, text.format(letters=letters[:MOST_LETTERS], packages=words.listed(packages_for(letters))), DATA)]


def _of_the_maps(rows: Sequence[Row]) -> list[Alert]:
    text = _("The pictures of what the models look at failed a check: {question}")
    return [
        (WARN, text.format(question=words.QUESTIONS[row.question]), EXPLANATIONS) for row in rows if row.verdict == NO
    ]
