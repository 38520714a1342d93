"""The figures of the README are those of the committed evidence report, and that report is one of the present code."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from vptlib import doctor
from vptlib.paths import repository
from vptlib.report.build import PARTS
from vptlib.report.words import in_language
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


def first_page(name: str) -> str:
    """The text of page 1 of a committed page, without its figures."""
    html = (EVIDENCE / name).read_text()
    page = html[html.index('<section class="decision') : html.index('id="contents"')]
    page = re.sub("<picture>.*?</picture>", "", page, flags=re.DOTALL)
    return plain(unescape(re.sub(r"<[^>]*>", " ", page)))


def plain(text: str) -> str:
    """With blanks of one kind only."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    "language, name, caught", [("en", "index.html", "What catches it:"), ("ja", "index.ja.html", "歯止め：")]
)
def test_page_1_alone_answers_the_questions_of_a_reader_with_two_minutes(language, name, caught):
    """What to do, how sure that is, what it costs, what can go wrong and what catches it, when to decide again."""
    page, said = first_page(name), in_language(language)
    steps = {"use_full": ("next_pilot", "full"), "more_labels": ("next_labels", None)}
    for task in summary():
        advice = task["recommendation"]
        step = "use_full" if advice["method"] == "full" else advice["choice_code"]
        assert plain(said.step_in_short(*steps[step])) in page
        largest = {point["method"]: point for point in task["curves"] if point["n"] == 400}
        shown = largest[advice["method"] or "vpt-deep"]
        assert plain(said.per_cent(shown["mean"])) in page
        assert f"{advice['decide_again_at']}" in page
    assert plain(said.currency("USD")) in page and plain(said.who_decides()) in page
    assert page.count(caught) == 3 * len(summary())
    assert len(re.findall(r"in a year|年間", page)) == len(summary())


@pytest.mark.skipif(not shutil.which("pdftotext"), reason=doctor.NO_PDFINFO)
@pytest.mark.parametrize("name", ["report.pdf", "report.ja.pdf"])
def test_the_sheet_to_be_signed_is_the_first_one(name):
    sheet = subprocess.check_output(["pdftotext", "-f", "1", "-l", "1", EVIDENCE / name, "-"], text=True)
    assert "sha256sum" in sheet and ("Approved" in sheet or "承認" in sheet)


def test_the_first_page_of_the_readme_is_that_of_the_report():
    assert (EVIDENCE.parent / "evidence.png").stat().st_size < 150_000
    text = (repository() / "README.md").read_text()
    assert "(reports/gallery/evidence.png)](reports/gallery/evidence/report.pdf)" in text


def test_the_committed_report_is_there_in_both_languages_with_all_its_parts():
    for name, title in (("index.html", "Explainability checklist"), ("index.ja.html", "説明可能性チェックリスト")):
        assert (EVIDENCE / name).read_text().count(title) == len(summary())
    assert {path.name for path in EVIDENCE.iterdir()} == set(PARTS) - {"index.en.html", "report.en.pdf"}
