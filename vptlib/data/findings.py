"""What is found in a set of images, before any training."""

from collections.abc import Iterable
from dataclasses import dataclass

from vptlib.statement import Statement

LEVELS = ("error", "warning", "note")  # worst first


@dataclass(frozen=True)
class Finding:
    """One thing found in the images, as code and numbers; `vptlib.report.words` has its sentence.

    Attributes:
        level: "error" (a study cannot go on), "warning" (its results may mislead) or "note".
        what: the finding.
    """

    level: str
    what: Statement


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; those of one level keep their order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
