"""The last lines of a report: commands that work as they stand, and none where no method is of use."""

import shlex
from dataclasses import replace

import pytest
from planted import planted_runs

from vptlib.evidence.decision import recommend
from vptlib.evidence.recommendation import NOTHING_WORKS
from vptlib.report.sections.next_steps import next_commands, next_part

RUNS = planted_runs({method: {200: 0.8, 400: 0.9} for method in ("vpt-deep", "full")})


@pytest.mark.parametrize(
    ("report", "task", "several", "words"),
    [
        ("reports/cells", "folder:/data/cells", False, ["vpt", "export", "reports/cells", "cells.vpt"]),
        (
            "my reports/a", "folder:/data/my cells", True,
            ["vpt", "export", "my reports/a", "my-cells.vpt", "--task", "my cells"],
        ),
        ("reports/x", "folder:/data/部品", False, ["vpt", "export", "reports/x", "部品.vpt"]),
        ("reports/x", "table:/data/a$(b).csv", False, ["vpt", "export", "reports/x", "a-b.vpt"]),
        ("quickstart", "fashion-mnist", False, ["vpt", "export", "quickstart", "fashion-mnist.vpt"]),
    ],
)  # fmt: skip
def test_the_commands_are_words_that_a_shell_takes_as_they_are_meant(report, task, several, words):
    first, second, third = map(shlex.split, next_commands(report, task, several))
    assert first == words
    assert second[2] == third[3] == words[3]


def test_a_report_ends_with_its_commands_unless_nothing_is_of_use():
    advice = recommend(RUNS)
    (shown,) = next_part("digits", advice, "reports/<x>", False)
    assert "vpt export &#39;reports/&lt;x&gt;&#39; digits.vpt" in shown.data
    assert next_part("digits", replace(advice, choice=NOTHING_WORKS), "reports/x", False) == []
    assert next_part("digits", advice, "", False) == []
