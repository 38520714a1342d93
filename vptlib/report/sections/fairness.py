"""The parts of a report on its rules: what was the same for all methods, and what a study of this size can show."""

from IPython.display import HTML

from vptlib.data.tasks import load_task
from vptlib.report.judged import told_apart_before
from vptlib.report.sections.basic import facts, folded, heading
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement
from vptlib.study.study import Study

# The rules that say whether the methods had equal terms.
EQUAL_TERMS = ("images", "tuning", "test", "seeds")


def fairness_part(study: Study) -> list[HTML]:
    """What was the same for all methods, what the study can tell apart, and folded away the other rules."""
    rules = study.protocol()
    equal = {name: rule for name, rule in rules.items() if name in EQUAL_TERMS}
    others = {name: rule for name, rule in rules.items() if name not in EQUAL_TERMS}
    return [
        heading(_("The terms, the same for all methods")),
        facts(words.protocol(equal) | {_("What this study can show"): words.sentence(power_of(study))}),
        folded(_("All other rules"), [facts(words.protocol(others))]),
    ]


def power_of(study: Study) -> Statement:
    """Which difference a study of this size tells apart."""
    groups, items = load_task(study.task).test_groups, study.test_items()
    return told_apart_before(len(study.seeds), len(items), None if groups is None else groups[items])
