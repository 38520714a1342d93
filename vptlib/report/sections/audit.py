"""The part of a report that says what the audit of a study's runs found (`vptlib.evidence.audit`)."""

from itertools import groupby

from IPython.display import HTML

from vptlib.evidence.audit import WARNING, AuditFinding
from vptlib.report.sections.basic import heading, part
from vptlib.report.words import gettext as _
from vptlib.report.words import words

MOST_APART = 3

# A label, a sentence, the number of runs, and lines of a sentence (or "") with run ids.
_Item = tuple[str, str, str, list[tuple[str, tuple[str, ...]]]]


def audit_part(findings: list[AuditFinding]) -> list[HTML]:
    """Heading and findings, warnings first, their runs folded away.

    More than `MOST_APART` findings of one kind share a line, with their sentences folded away too.
    """
    clean = not any(finding.level == WARNING for finding in findings)
    items = [(words.AUDIT["clean"], words.audit_is_clean(), "", [])] if clean else []
    for same in of_one_kind(findings):
        items += _items(same)
    return [heading(_("What the audit of the runs found")), part("audit", items=items)]


def of_one_kind(findings: list[AuditFinding]) -> list[list[AuditFinding]]:
    """Findings that follow one another with the same code, together."""
    return [list(same) for _code, same in groupby(findings, key=lambda finding: finding.what.code)]


def in_lines(same: list[AuditFinding]) -> list[str]:
    """Findings of one kind, a sentence each; more than `MOST_APART` in one sentence."""
    return [text for _label, text, _runs, _lines in _items(same)]


def _items(same: list[AuditFinding]) -> list[_Item]:
    return [_together(same)] if len(same) > MOST_APART else [_alone(finding) for finding in same]


def _alone(finding: AuditFinding) -> _Item:
    text = words.sentence(finding.what)
    return words.AUDIT[finding.level], text, _runs(len(finding.run_ids)), [("", finding.run_ids)]


def _together(same: list[AuditFinding]) -> _Item:
    methods = list(dict.fromkeys(finding.method for finding in same))
    runs = len({run_id for finding in same for run_id in finding.run_ids})
    text = words.findings_together(same[0].what.code, methods, runs)
    lines = [(words.sentence(finding.what), finding.run_ids) for finding in same]
    return words.AUDIT[same[0].level], text, _runs(runs), lines


def _runs(number: int) -> str:
    return _("Runs: {n}").format(n=words.whole(number))
