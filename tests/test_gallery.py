"""The figures of the README are those of the committed evidence report, and that report is one of the present code."""

import json
import re

from vptlib.paths import repository
from vptlib.tuning.methods import METHODS

EVIDENCE = repository() / "reports" / "gallery" / "evidence"


def summary() -> list[dict]:
    return json.loads((EVIDENCE / "summary.json").read_text())["tasks"]


def printed() -> list[dict[str, str]]:
    """The README's table of the evidence, a dictionary a row."""
    text = (repository() / "README.md").read_text()
    table = re.search(r"^\| task \|.*advice \|\n(\|.*\n)+", text, re.MULTILINE).group().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_the_readme_prints_what_was_measured():
    for row, task in zip(printed(), summary(), strict=True):
        largest = max(point["n"] for point in task["curves"])
        for point in task["curves"]:
            if point["n"] == largest:
                mean, low, high = (f"{100 * point[key]:.1f}" for key in ("mean", "low", "high"))
                assert row[METHODS[point["method"]].title] == f"{mean} ({low}–{high})", (task["task"], point["method"])
        advice = task["recommendation"]
        assert row["task"] == task["task"]
        assert row["advice"] == f"{advice['choice']}, confidence {advice['confidence']}"


def test_the_committed_report_has_the_pages_on_explanations():
    """They came later than the first committed report."""
    html = (EVIDENCE / "index.html").read_text()
    assert html.count("Explainability checklist") == len(summary())
    assert html.count("Would another training run give the same maps?") == len(summary())
