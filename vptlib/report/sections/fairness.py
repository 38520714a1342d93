"""The parts of a report on its rules: what was the same for all methods, and what a study of this size can show."""

import math

from IPython.display import HTML

from vptlib.data.tasks import load_task
from vptlib.evidence.recommendation import Recommendation
from vptlib.report.judged import told_apart_before
from vptlib.report.sections.basic import facts, folded, heading
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement, statement
from vptlib.study.study import Study

# The rules that say whether the methods had equal terms.
EQUAL_TERMS = ("images", "tuning", "test", "seeds")


def fairness_part(study: Study, advice: Recommendation) -> list[HTML]:
    """What was the same for all methods, what the study can tell apart, and folded away the other rules."""
    rules = study.protocol()
    equal = {name: rule for name, rule in rules.items() if name in EQUAL_TERMS}
    others = {name: rule for name, rule in rules.items() if name not in EQUAL_TERMS}
    return [
        heading(_("The terms, the same for all methods")),
        facts(words.protocol(equal) | {_("What this study can show"): words.sentence(power_of(study, advice))}),
        folded(_("All other rules"), [facts(words.protocol(others))]),
    ]


def power_of(study: Study, advice: Recommendation) -> Statement:
    """Which difference the study tells apart: as its runs vary, or before there are enough of them, as is usual."""
    groups, items = load_task(study.task).test_groups, study.test_items()
    before = told_apart_before(len(study.seeds), len(items), None if groups is None else groups[items])
    if math.isnan(advice.settles):
        return before
    return statement(
        "told_apart", seeds=advice.seeds, images=advice.images, difference=advice.settles,
        expected=before.values["difference"],
    )  # fmt: skip
